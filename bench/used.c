/* used COMMAND ARGUMENT...: what the command used, in all: nanoseconds from its start to its end, nanoseconds of a processor, KiB of
 * memory at most. What it prints is thrown away. Its status does not matter: `diagnose` says what is wrong by it. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demand.h"
#include "now.h"

static long long nanoseconds(struct timeval time)
{
    return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    int status, silent = open("/dev/null", O_RDWR);
    long long started = now_ns();
    pid_t child;

    demand(argc > 1 && silent >= 0, "the command");
    demand((child = fork()) >= 0, "fork");
    if (child == 0) {
        for (int standard = 0; standard <= 2; standard++)
            dup2(silent, standard);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    demand(wait4(child, &status, 0, &usage) == child && WIFEXITED(status) && WEXITSTATUS(status) != 127, argv[1]);
    printf("%lld %lld %ld", now_ns() - started, nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime), usage.ru_maxrss);
    return 0;
}
