/* timeout: a deadline is a block around the lines that it is for.
 *
 * No call takes a timeout of its own. co_timeout(ms) covers all waits inside its block, however
 * deep, and such blocks nest. It prints:
 *
 *     a read in time: 5 bytes
 *     a read with nothing to come: Connection timed out
 *     a loop of reads, 100 ms in all: Connection timed out after 100 ms
 *     the inner deadline of two: Connection timed out, and the outer goes on: 0
 *     only a try: Connection timed out
 *     a shielded goodbye in a block that is out of time: 4 bytes
 *     waiting for a slow task: Connection timed out */
#include <coloop.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *said(ssize_t rc)
{
    static char text[32];
    if (rc < 0)
        return strerror((int)-rc);
    snprintf(text, sizeof text, "%zd bytes", rc);
    return text;
}

static void one_call(int in, int out)
{
    char buffer[16];
    ssize_t n = -1;
    co_write(out, "hello", 5);
    co_timeout(100) n = co_read(in, buffer, sizeof buffer);
    printf("a read in time: %s\n", said(n));
    co_timeout(100) n = co_read(in, buffer, sizeof buffer);
    printf("a read with nothing to come: %s\n", said(n));
}

/* Each sleep and each write succeeds; the deadline is for all of them together. */
static void many_calls(int in, int out)
{
    int64_t start = loop_time(loop_current());
    ssize_t n = 0;
    char c;
    co_timeout(100) {
        while (n >= 0 && co_sleep(15) == 0) {
            co_write(out, "x", 1);
            n = co_read(in, &c, 1);
        }
        n = co_read(in, &c, 1); /* the block is out of time, and so is every call in it */
    }
    printf("a loop of reads, 100 ms in all: %s after %lld ms\n", said(n),
           (long long)((loop_time(loop_current()) - start) / 1000000));
}

static void nested(int in, int out)
{
    int inner = 0, outer = 0;
    ssize_t n = 0;
    char c;
    co_timeout(1000) {
        co_timeout(20) inner = co_sleep(500);
        outer = co_sleep(20);
    }
    printf("the inner deadline of two: %s, and the outer goes on: %d\n", strerror(-inner), outer);
    co_timeout(0) n = co_read(in, &c, 1);
    printf("only a try: %s\n", said(n));
    co_timeout(20) {
        co_sleep(500);
        co_shield() n = co_write(out, "bye\n", 4);
    }
    printf("a shielded goodbye in a block that is out of time: %s\n", said(n));
}

static int slow(void *arg)
{
    (void)arg;
    return co_sleep(10000);
}

static int show(void *arg)
{
    int ends[2];
    (void)arg;
    if (pipe(ends) < 0)
        return co_fail(-EMFILE, "no pipe");
    one_call(ends[0], ends[1]);
    many_calls(ends[0], ends[1]);
    nested(ends[0], ends[1]);
    printf("waiting for a slow task: %s\n", said(co_wait_for(co_spawn(slow, NULL), 50)));
    co_close(ends[0]);
    co_close(ends[1]);
    return 0;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
