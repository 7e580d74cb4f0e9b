/* The limit of depth/1: its three system calls, with the same lengths and the same checks, and nothing around them.
 * Reads a listener of its own. */
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>

#include "serve.h"

/* As much of struct tcp_info as a socket in LISTEN fills: see native/core/src/sockopt.rs. */
enum { TCP_INFO_OF_LISTENER = 32 };

static int listener;
static uint64_t cookie;

static void read_option(int level, int name, void *value, socklen_t size)
{
    socklen_t length = size;
    demand(getsockopt(listener, level, name, value, &length) == 0 && length == size, "getsockopt");
}

static void read_depth(void)
{
    struct tcp_info info;
    uint32_t memory[SK_MEMINFO_DROPS + 1];
    uint64_t cookie_now;

    read_option(IPPROTO_TCP, TCP_INFO, &info, TCP_INFO_OF_LISTENER);
    read_option(SOL_SOCKET, SO_MEMINFO, memory, sizeof memory);
    read_option(SOL_SOCKET, SO_COOKIE, &cookie_now, sizeof cookie_now);
    demand(info.tcpi_state == TCP_LISTEN && cookie_now == cookie, "another socket");
}

int main(void)
{
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    demand(listener >= 0 && listen(listener, 128) == 0, "listen");
    read_option(SOL_SOCKET, SO_COOKIE, &cookie, sizeof cookie);
    serve(read_depth);
}
