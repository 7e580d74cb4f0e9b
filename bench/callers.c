/* callers PORT N: N processes that connect to a port of 127.0.0.1, wait until the server has closed, and connect again. None leaves
 * before it is accepted. Says "ready", and goes on until a byte comes or its standard input ends. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demand.h"

static void call(int port)
{
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    char byte;
    int client = socket(AF_INET, SOCK_STREAM, 0);

    demand(client >= 0, "socket");
    /* One that is accepted and reset before connect has returned. */
    demand(connect(client, (const struct sockaddr *)&address, sizeof address) == 0 || errno == ECONNRESET, "connect");
    demand(read(client, &byte, 1) <= 0, "a server that says nothing");
    close(client);
}

int main(int argc, char **argv)
{
    char byte;

    demand(argc == 3, "a port and the number of processes");
    int count = atoi(argv[2]);
    pid_t *children = calloc((size_t)count, sizeof *children);
    demand(children != NULL, "calloc");
    for (int nth = 0; nth < count; nth++) {
        demand((children[nth] = fork()) >= 0, "fork");
        if (children[nth] == 0) {
            demand(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "prctl");
            for (;;)
                call(atoi(argv[1]));
        }
    }
    puts("ready");
    fflush(stdout);
    demand(read(STDIN_FILENO, &byte, 1) >= 0, "standard input");
    for (int nth = 0; nth < count; nth++)
        demand(kill(children[nth], SIGKILL) == 0, "kill");
    while (wait(NULL) > 0)
        ;
}
