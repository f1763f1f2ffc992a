/* select: one task waits for a channel, an fd, a timer and a signal, whichever comes first.
 *
 * Exactly one case happens in each round, and the others have no effect. It prints:
 *
 *     job 1 from the channel
 *     "hello" from the pipe
 *     nothing for 50 ms
 *     job 2 from the channel
 *     SIGUSR1: goodbye */
#include <coloop.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct world {
    co_chan_t *jobs;
    int ends[2];
};

/* What the others do, in their time. */
static int act(void *arg)
{
    struct world *world = arg;
    int job = 1;
    co_chan_send(world->jobs, &job);
    co_sleep(10);
    co_write(world->ends[1], "hello", 5);
    co_sleep(75);
    job = 2;
    co_chan_send(world->jobs, &job);
    co_sleep(10);
    return raise(SIGUSR1) ? -EINVAL : 0;
}

static int show(void *arg)
{
    struct world *world = arg;
    co_task_t *actor = co_spawn(act, world);
    char text[16];
    int job;
    for (;;) {
        co_case_t cases[] = {CO_RECV(world->jobs, &job), CO_FD(world->ends[0], CO_READ),
                             CO_SIGNAL(SIGUSR1), CO_AFTER(50)};
        int i = co_select(cases, 4);
        if (i < 0)
            return i;
        if (i == 0) {
            printf("job %d from the channel\n", job);
        } else if (i == 1) { /* the fd is readable, no byte has been read */
            ssize_t n = co_read(world->ends[0], text, sizeof text);
            printf("\"%.*s\" from the pipe\n", (int)n, text);
        } else if (i == 2) {
            printf("SIGUSR1: goodbye\n");
            return co_await_task(actor);
        } else {
            printf("nothing for 50 ms\n");
        }
    }
}

int main(void)
{
    struct world world = {.jobs = co_chan_new(sizeof(int), 0)};
    loop_t *loop =
        loop_new(&(loop_options_t){.virtual_time = true}); /* the same on every machine */
    if (!world.jobs || !loop || pipe(world.ends) < 0)
        return 1;
    int rc = loop_run_until(loop, loop_spawn(loop, show, &world));
    loop_close(loop);
    co_chan_free(world.jobs);
    return rc != 0;
}
