/* foreign_poll: our loop inside somebody else's.
 *
 * A program that already has a loop (of a GUI, of a game, or, as here, a plain poll) polls
 * loop_fd among its own fds and calls loop_run_once(loop, 0) when that is readable; timers and
 * coroutines are behind this one fd too. Nothing is polled in vain: the program sleeps in its own
 * poll. The coroutine writes into a pipe that belongs to the program. It prints:
 *
 *     coroutine: writes tick 1
 *     program:   reads "tick 1"
 *     (two more of these)
 *     timer:     200 ms are over
 *     program:   the loop has no work left; it woke us N times */
#include <coloop.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int tick(void *arg)
{
    int out = *(int *)arg;
    for (int i = 1; i <= 3; i++) {
        char text[16];
        int length = snprintf(text, sizeof text, "tick %d", i), rc = co_sleep(50);
        if (rc < 0)
            return rc;
        printf("coroutine: writes %s\n", text);
        co_write(out, text, (size_t)length);
    }
    return 0;
}

static void on_timer(void *arg)
{
    (void)arg;
    printf("timer:     200 ms are over\n");
}

static void read_pipe(int fd)
{
    char text[64];
    ssize_t n = read(fd, text, sizeof text);
    if (n > 0)
        printf("program:   reads \"%.*s\"\n", (int)n, text);
}

static int poll_both(loop_t *loop, int in)
{
    struct pollfd fds[2] = {{loop_fd(loop), POLLIN, 0}, {in, POLLIN, 0}};
    int work = fds[0].fd < 0 ? fds[0].fd : 1, woken = 0;
    if (work < 0)
        printf("program:   this loop has no fd to poll: %s\n", strerror(-work));
    while (work > 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (fds[0].revents) {
            work = loop_run_once(loop, 0);
            woken++;
        }
        if (fds[1].revents)
            read_pipe(in);
    }
    printf("program:   the loop has no work left; it woke us %d times\n", woken);
    return work < 0;
}

int main(void)
{
    loop_t *loop = loop_new(NULL);
    int ends[2], rc;
    if (!loop || pipe(ends) < 0)
        return 1;
    co_task_release(loop_spawn(loop, tick, &ends[1]));
    loop_call_later(loop, 200, on_timer, NULL, NULL);
    rc = poll_both(loop, ends[0]);
    loop_close(loop);
    close(ends[0]);
    close(ends[1]);
    return rc;
}
