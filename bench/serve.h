/* The conversation with the runner, the same for every bare program: a line with a number of calls comes in, a line
 * with the nanoseconds they took goes out. The runner says whose turn it is, so that noise hits all contestants
 * alike. */
#include "demand.h"
#include "now.h"

static void serve(void (*call)(void))
{
    long calls;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%ld", &calls) == 1) {
        long long started = now_ns();
        for (long i = 0; i < calls; i++)
            call();
        printf("%lld\n", now_ns() - started);
    }
}
