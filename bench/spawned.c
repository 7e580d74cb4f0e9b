/* spawned COMMAND ARGUMENT...: how long the command takes, from its start to its end. What it prints is thrown away;
 * that it fails is not. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "serve.h"

extern char **environ;

static char **command;
static posix_spawn_file_actions_t silent;

static void run(void)
{
    pid_t child;
    int status;

    demand(posix_spawnp(&child, command[0], &silent, NULL, command, environ) == 0, command[0]);
    demand(waitpid(child, &status, 0) == child, "waitpid");
    demand(WIFEXITED(status) && WEXITSTATUS(status) == 0, command[0]);
}

int main(int argc, char **argv)
{
    demand(argc > 1, "the command");
    command = argv + 1;
    demand(posix_spawn_file_actions_init(&silent) == 0, "posix_spawn_file_actions_init");
    demand(posix_spawn_file_actions_addopen(&silent, 1, "/dev/null", O_WRONLY, 0) == 0, "/dev/null");
    serve(run);
}
