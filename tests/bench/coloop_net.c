/* coloop_net.c: libcoloop's echo server, as one writes it: a task for each connection. */
#include "bench.h"

#include <coloop.h>

static long alive;
static co_task_t *server;

static int echo(int fd, void *arg)
{
    char data[BENCH_ECHO_MAX];
    ssize_t n;
    (void)arg;
    alive++;
    while ((n = co_read(fd, data, sizeof data)) > 0)
        if ((n = co_write(fd, data, (size_t)n)) < 0)
            break;
    if (--alive == 0)
        co_task_cancel(server);
    return (int)n;
}

static int serve(void *port)
{
    co_serve_options_t options = {.stack_size = BENCH_ECHO_MAX + 16384};
    int fd = bench_listen(*(long *)port);
    server = co_self();
    int rc = co_serve(fd, echo, NULL, &options);
    co_close(fd);
    return rc;
}

void coloop_echo(long port)
{
    MUST(co_run(serve, &port) == -ECANCELED);
}
