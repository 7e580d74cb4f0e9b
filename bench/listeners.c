/* listeners N: N listening sockets on loopback, of a process that has nothing to do with anything else. Says "ready", and holds them
 * until a byte comes or its standard input ends. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "demand.h"

/* The standard streams. */
enum { OTHER_DESCRIPTORS = 16, FIRST_ADDRESS = 0x7f020001, PORTS_EACH = 10000, FIRST_PORT = 20000 };

int main(int argc, char **argv)
{
    struct rlimit descriptors;
    char byte;

    demand(argc == 2, "the number of listeners");
    demand(getrlimit(RLIMIT_NOFILE, &descriptors) == 0, "getrlimit");
    descriptors.rlim_cur = descriptors.rlim_max;
    demand(setrlimit(RLIMIT_NOFILE, &descriptors) == 0, "setrlimit");
    int count = atoi(argv[1]);
    demand((rlim_t)count + OTHER_DESCRIPTORS <= descriptors.rlim_max, "so many descriptors");
    for (int nth = 0; nth < count; nth++) {
        const struct sockaddr_in address = { .sin_family = AF_INET,
                                             .sin_addr.s_addr = htonl(FIRST_ADDRESS + nth / PORTS_EACH),
                                             .sin_port = htons(FIRST_PORT + nth % PORTS_EACH) };
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        demand(listener >= 0, "socket");
        demand(bind(listener, (const struct sockaddr *)&address, sizeof address) == 0, "bind");
        demand(listen(listener, 1) == 0, "listen");
    }
    puts("ready");
    fflush(stdout);
    demand(read(STDIN_FILENO, &byte, 1) >= 0, "standard input");
}
