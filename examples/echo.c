/* echo: a server that sends back what it gets.
 *
 *     echo [PORT]
 *
 * co_serve runs the handler for each connection, in a coroutine of its own, and closes the
 * connection after it. Try it with several `nc localhost 7777` at a time; Ctrl-C ends it. It
 * prints:
 *
 *     echo on port 7777 */
#include <coloop.h>
#include <stdio.h>
#include <stdlib.h>

static int echo(int fd, void *arg)
{
    char data[4096];
    ssize_t n;
    (void)arg;
    while ((n = co_read(fd, data, sizeof data)) > 0) {
        if ((n = co_write(fd, data, (size_t)n)) < 0)
            break;
    }
    return (int)n;
}

static int serve(void *arg)
{
    int listener = co_tcp_listen(NULL, *(int *)arg, 0);
    if (listener < 0)
        return co_fail(listener, "cannot listen on port %d", *(int *)arg);
    printf("echo on port %d\n", co_port(listener));
    fflush(stdout);
    return co_serve(listener, echo, NULL, NULL);
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 7777;
    return co_run(serve, &port) != 0;
}
