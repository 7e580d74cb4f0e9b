/* crowd N [P]: N established loopback connections, so 2 N sockets, that have nothing to do with the listener, and beside
 * those who hold them P processes that do nothing. Says "ready", holds them until a byte comes or its standard input
 * ends, also because its parent was killed, and is gone only when they are. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demand.h"

/* One process holds both ends of so many, well below the 28,232 ports of ip_local_port_range: they share a listener, and an
 * address of 127.0.0.0/8 at both ends. */
enum { CONNECTIONS_EACH = 10000, FIRST_ADDRESS = 0x7f010001 };
/* The standard streams, the pipes, the listener. */
enum { OTHER_DESCRIPTORS = 16 };

/* The end of the client has the lower number, is closed first when the process ends, and resets: nothing is left in
 * TIME_WAIT. */
static void connect_all(int connections, int nth)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(FIRST_ADDRESS + nth) };
    const struct sockaddr_in source = address;
    socklen_t length = sizeof address;
    const int yes = 1;
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    demand(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    demand(listen(listener, 1) == 0, "listen");
    demand(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    while (connections-- > 0) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        demand(client >= 0, "socket");
        demand(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0, "SO_LINGER");
        demand(setsockopt(client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) == 0, "IP_BIND_ADDRESS_NO_PORT");
        demand(bind(client, (const struct sockaddr *)&source, sizeof source) == 0, "bind");
        demand(connect(client, (struct sockaddr *)&address, length) == 0, "connect");
        demand(accept(listener, NULL, NULL) > client, "accept");
    }
    close(listener);
}

/* How many connections one process has descriptors for. */
static int room(void)
{
    struct rlimit descriptors;
    demand(getrlimit(RLIMIT_NOFILE, &descriptors) == 0, "getrlimit");
    descriptors.rlim_cur = descriptors.rlim_max;
    demand(setrlimit(RLIMIT_NOFILE, &descriptors) == 0, "setrlimit");
    rlim_t connections = (descriptors.rlim_max - OTHER_DESCRIPTORS) / 2;
    return connections < CONNECTIONS_EACH ? (int)connections : CONNECTIONS_EACH;
}

/* A process of the crowd lives as long as its parent keeps `lifeline` open. It may hold no connection at all. */
static void start(int connections, int nth, const int lifeline[2])
{
    int ready[2];
    char byte = 0;
    pid_t child;

    demand(pipe(ready) == 0, "pipe");
    demand((child = fork()) >= 0, "fork");
    if (child == 0) {
        close(lifeline[1]);
        if (connections > 0)
            connect_all(connections, nth);
        demand(write(ready[1], &byte, 1) == 1, "write");
        demand(read(lifeline[0], &byte, 1) == 0, "lifeline");
        exit(0);
    }
    close(ready[1]);
    demand(read(ready[0], &byte, 1) == 1, "a process of the crowd");
    close(ready[0]);
}

int main(int argc, char **argv)
{
    int lifeline[2], each = room();
    char byte;

    demand(argc == 2 || argc == 3, "the number of connections");
    demand(pipe(lifeline) == 0, "pipe");
    for (int left = atoi(argv[1]), nth = 0; left > 0; left -= each)
        start(left < each ? left : each, nth++, lifeline);
    for (int idle = argc == 3 ? atoi(argv[2]) : 0; idle > 0; idle--)
        start(0, 0, lifeline);
    puts("ready");
    fflush(stdout);
    demand(read(STDIN_FILENO, &byte, 1) >= 0, "standard input");
    close(lifeline[1]);
    while (wait(NULL) > 0)
        ;
}
