/* A figure must never be made of a call that failed. */
#include <stdio.h>
#include <stdlib.h>

static void demand(int held, const char *what)
{
    if (held)
        return;
    perror(what);
    exit(1);
}
