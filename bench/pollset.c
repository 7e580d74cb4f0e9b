/* pollset N: how long it takes to read an epoll set of N descriptors in /proc, which holds its lock, in nanoseconds: the median of
 * some readings. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "demand.h"
#include "now.h"

enum { READINGS = 21 };

static char buffer[1 << 16];

static long long read_all(const char *path)
{
    long long started = now_ns();
    int file = open(path, O_RDONLY);
    ssize_t length;

    demand(file >= 0, path);
    do
        demand((length = read(file, buffer, sizeof buffer)) >= 0, path);
    while (length > 0);
    close(file);
    return now_ns() - started;
}

static int by_time(const void *one, const void *other)
{
    long long a = *(const long long *)one, b = *(const long long *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    struct epoll_event event = { .events = EPOLLIN };
    struct rlimit descriptors;
    long long times[READINGS];
    char path[64];
    int set = epoll_create1(EPOLL_CLOEXEC);

    demand(argc == 2 && set >= 0, "the number of descriptors");
    demand(getrlimit(RLIMIT_NOFILE, &descriptors) == 0, "getrlimit");
    descriptors.rlim_cur = descriptors.rlim_max;
    demand(setrlimit(RLIMIT_NOFILE, &descriptors) == 0, "setrlimit");
    for (int left = atoi(argv[1]); left > 0; left--) {
        int one = eventfd(0, EFD_CLOEXEC);
        demand(one >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, one, &event) == 0, "eventfd");
    }
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
    for (int reading = 0; reading < READINGS; reading++)
        times[reading] = read_all(path);
    qsort(times, READINGS, sizeof times[0], by_time);
    printf("%lld", times[READINGS / 2]);
    return 0;
}
