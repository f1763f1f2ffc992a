/* pipeline: stages joined by channels, where a slow stage holds back those before it.
 *
 * Numbers go through a fast source, a stage that squares them, and a slow sink. The channels hold
 * two items each, so the source is never far ahead of the sink, however fast it is. It prints:
 *
 *     1 4 9 16 25 36 49 64 81 100 121 144
 *     12 items arrived; the source was at most 6 ahead */
#include <coloop.h>
#include <stdio.h>

enum { ITEMS = 12, ROOM = 2 };

struct pipeline {
    co_chan_t *numbers, *squares;
    int produced, arrived, ahead;
};

static int source(void *arg)
{
    struct pipeline *p = arg;
    int rc = 0;
    for (int n = 1; n <= ITEMS && rc == 0; n++) {
        rc = co_chan_send(p->numbers, &n); /* waits here when the rest is slow */
        p->produced += rc == 0;
        if (p->produced - p->arrived > p->ahead)
            p->ahead = p->produced - p->arrived;
    }
    co_chan_close(p->numbers);
    return rc;
}

static int square(void *arg)
{
    struct pipeline *p = arg;
    int n, rc;
    while ((rc = co_chan_recv(p->numbers, &n)) == 0) {
        n *= n;
        if ((rc = co_chan_send(p->squares, &n)) < 0)
            break;
    }
    co_chan_close(p->squares); /* the end travels down the pipeline */
    return rc == -EPIPE ? 0 : rc;
}

static int sink(void *arg)
{
    struct pipeline *p = arg;
    int n, rc;
    while ((rc = co_chan_recv(p->squares, &n)) == 0) {
        if ((rc = co_sleep(5)) < 0)
            return rc;
        p->arrived++;
        printf("%d%c", n, p->arrived < ITEMS ? ' ' : '\n');
    }
    return rc == -EPIPE ? 0 : rc;
}

static int show(void *arg)
{
    struct pipeline p = {.numbers = co_chan_new(sizeof(int), ROOM),
                         .squares = co_chan_new(sizeof(int), ROOM)};
    int rc = -ENOMEM;
    (void)arg;
    if (p.numbers && p.squares)
        rc = co_gather(co_spawn(source, &p), co_spawn(square, &p), co_spawn(sink, &p));
    printf("%d items arrived; the source was at most %d ahead\n", p.arrived, p.ahead);
    co_chan_free(p.numbers);
    co_chan_free(p.squares);
    return rc;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
