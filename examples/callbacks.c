/* callbacks: the loop without coroutines, as one knows it from asyncio or libuv.
 *
 * Calls, timers and watchers of fds are all the loop has; coroutines are built on them and mix
 * with them freely. A handle is storage of the caller, so that scheduling needs no memory and can
 * be undone. It prints:
 *
 *     soon
 *     tick 1
 *     tick 2
 *     tick 3
 *     the reader got "hello" and the pipe's end
 *     run returned 0: no work is left */
#include <coloop.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct program {
    loop_t *loop;
    loop_handle_t ticker, never;
    int ticks, in, out;
    char text[16];
    size_t used;
};

static void on_soon(void *arg)
{
    (void)arg;
    printf("soon\n");
}

static void on_never(void *arg)
{
    (void)arg;
    printf("this was cancelled, and is never printed\n");
}

/* Writes to the pipe and closes it after the third time. */
static void on_tick(void *arg)
{
    struct program *program = arg;
    printf("tick %d\n", ++program->ticks);
    if (program->ticks < 3) {
        loop_call_later(program->loop, 20, on_tick, program, &program->ticker);
        return;
    }
    if (write(program->out, "hello", 5) < 0)
        perror("write");
    close(program->out);
    loop_cancel(&program->never);
}

/* A watcher is called as long as its fd is readable, so it may read as little as it likes. */
static void on_readable(void *arg)
{
    struct program *program = arg;
    ssize_t n = read(program->in, program->text + program->used, 1);
    if (n > 0 && program->used + 1 < sizeof program->text) {
        program->used++;
        return;
    }
    printf("the reader got \"%s\" and the pipe's end\n", program->text);
    loop_remove_reader(program->loop, program->in); /* before it is closed */
    close(program->in);
}

int main(void)
{
    struct program program = {.loop = loop_new(NULL)};
    int ends[2], rc;
    if (!program.loop || pipe(ends) < 0)
        return 1;
    program.in = ends[0];
    program.out = ends[1];
    loop_call_later(program.loop, 3600 * 1000, on_never, NULL, &program.never);
    loop_call_later(program.loop, 20, on_tick, &program, &program.ticker);
    loop_call_soon(program.loop, on_soon, NULL, NULL);
    loop_add_reader(program.loop, program.in, on_readable, &program);
    rc = loop_run(program.loop);
    printf("run returned %d: no work is left\n", rc);
    loop_close(program.loop);
    return rc != 0;
}
