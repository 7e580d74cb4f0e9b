/* A process that shows more of itself than there is room for, holds its standard input, and ends with the test.
 *
 * cmdline: its command line is that of a BEAM, and then three gigabytes of pages that were never written (PR_SET_MM_MAP).
 * beam:    its command line is that of a BEAM (as its test calls it), and it has no scheduler.
 * groups:  it is in 3,000 groups, so that /proc/PID/status has more than 16 KiB.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void show_gigabytes(void)
{
    static const char beam[] = "beam.smp\0-root\0/\0-bindir\0/\0-progname\0erl\0-sname\0huge";
    size_t size = 3UL << 30;
    char *line = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (line == MAP_FAILED)
        fail("mmap");
    memcpy(line, beam, sizeof beam);
    unsigned long long field[52];
    char stat[4096], *next;
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file || !fgets(stat, sizeof stat, file))
        fail("/proc/self/stat");
    next = strrchr(stat, ')') + 4;
    for (int number = 4; number < 52; number++)
        field[number] = strtoull(next, &next, 10);
    struct prctl_mm_map map = {
        .start_code = field[26], .end_code = field[27], .start_stack = field[28], .start_data = field[45], .end_data = field[46],
        .start_brk = field[47], .brk = (unsigned long long)sbrk(0), .arg_start = (unsigned long long)line,
        .arg_end = (unsigned long long)line + size, .env_start = field[50], .env_end = field[51], .exe_fd = -1,
    };
    if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0))
        fail("PR_SET_MM_MAP");
    prctl(PR_SET_NAME, "1_scheduler");
}

static void join_groups(void)
{
    gid_t groups[3000];
    for (int number = 0; number < 3000; number++)
        groups[number] = 1000000 + number;
    if (setgroups(3000, groups))
        fail("setgroups");
}

int main(int count, char **arguments)
{
    if (count == 2 && !strcmp(arguments[1], "cmdline"))
        show_gigabytes();
    else if (count == 2 && !strcmp(arguments[1], "groups"))
        join_groups();
    prctl(PR_SET_PDEATHSIG, 9);
    puts("ready");
    fflush(stdout);
    pause();
}
