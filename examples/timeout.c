/* timeout: a deadline is a block around the lines that it is for.
 *
 * No call takes a timeout of its own: co_timeout(ms) covers all waits inside its block, however
 * deep, and such blocks nest. It prints:
 *
 *     nothing to read: Connection timed out
 *     many reads, 100 ms in all: Connection timed out after 100 ms
 *     the inner deadline: Connection timed out; the outer goes on: Success
 *     out of time, but shielded: wrote 4 bytes
 *     a slow task: Connection timed out */
#include <coloop.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Each of these reads is in time; the deadline is for all of them together. */
static void read_often(int in, int out)
{
    int64_t start = loop_time(loop_current());
    ssize_t n = 0;
    char c;
    co_timeout(100) {
        while (n >= 0) {
            co_sleep(15);
            co_write(out, "x", 1);
            n = co_read(in, &c, 1); /* the block is out of time, and so is every call in it */
        }
    }
    printf("many reads, 100 ms in all: %s after %lld ms\n", strerror((int)-n),
           (long long)((loop_time(loop_current()) - start) / 1000000));
}

static int sleep_long(void *arg)
{
    (void)arg;
    return co_sleep(10000);
}

static int show(void *arg)
{
    int *ends = arg, inner = 0, outer = 0;
    ssize_t n = 0;
    char c;
    co_timeout(50) n = co_read(ends[0], &c, 1);
    printf("nothing to read: %s\n", strerror((int)-n));
    read_often(ends[0], ends[1]);
    co_timeout(1000) {
        co_timeout(20) inner = co_sleep(500);
        outer = co_sleep(20);
    }
    printf("the inner deadline: %s; the outer goes on: %s\n", strerror(-inner), strerror(-outer));
    co_timeout(20) {
        co_sleep(500);
        co_shield() n = co_write(ends[1], "bye\n", 4); /* to end something in peace */
    }
    printf("out of time, but shielded: wrote %zd bytes\n", n);
    printf("a slow task: %s\n", strerror(-co_wait_for(co_spawn(sleep_long, NULL), 50)));
    return 0;
}

int main(void)
{
    int ends[2];
    return pipe(ends) < 0 || co_run(show, ends) != 0;
}
