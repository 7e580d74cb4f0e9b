/* bare_dump PORT. The limit of counts/1: the same request (native/core/src/diag/request.rs), a socket opened for each
 * dump and a buffer of the same size (diag/socket.rs), and no more done with the answer than to find its end. */
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve.h"

static struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
} request = {
    .header = {
        .nlmsg_len = sizeof request,
        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
    },
    .body = {
        .sdiag_family = AF_INET,
        .sdiag_protocol = IPPROTO_TCP,
        .idiag_ext = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1),
        .idiag_states = 1 << TCP_LISTEN | 1 << TCP_ESTABLISHED | 1 << TCP_SYN_RECV | 1 << TCP_CLOSE_WAIT,
        .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
    },
};

static _Alignas(struct nlmsghdr) char buffer[32 * 1024];

/* Whether the end of the dump is in this datagram. */
static int is_last(int length)
{
    struct nlmsghdr *message = (struct nlmsghdr *)buffer;
    for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
        demand(message->nlmsg_type != NLMSG_ERROR, "sock_diag");
        if (message->nlmsg_type == NLMSG_DONE)
            return 1;
    }
    return 0;
}

static void dump(void)
{
    int length, diag = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    demand(diag >= 0, "socket");
    demand(send(diag, &request, sizeof request, 0) == sizeof request, "send");
    do {
        length = recv(diag, buffer, sizeof buffer, MSG_TRUNC);
        demand(length > 0 && length <= (int)sizeof buffer, "recv");
    } while (!is_last(length));
    close(diag);
}

int main(int argc, char **argv)
{
    demand(argc == 2, "the port of a listener");
    request.body.id.idiag_sport = htons(atoi(argv[1]));
    serve(dump);
}
