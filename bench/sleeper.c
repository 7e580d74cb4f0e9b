/* sleeper: what it costs to wake up every 100 ms and do nothing, in nanoseconds of a processor for each second, by the
 * kernel's account: the least for a program that reads ten times a second. */
#include <stdio.h>
#include <time.h>

#include "demand.h"

enum { WAKINGS = 100 };

static unsigned long used_ns(void)
{
    unsigned long ns;
    FILE *account = fopen("/proc/self/schedstat", "r");

    demand(account && fscanf(account, "%lu", &ns) == 1, "schedstat");
    fclose(account);
    return ns;
}

int main(void)
{
    const struct timespec pause = {0, 100000000};
    unsigned long before = used_ns();

    for (int waking = 0; waking < WAKINGS; waking++)
        demand(nanosleep(&pause, NULL) == 0, "nanosleep");
    printf("%lu", (used_ns() - before) / (WAKINGS / 10));
    return 0;
}
