/* sleep_sort: sorts numbers by sleeping.
 *
 *     sleep_sort [NUMBER...]
 *
 * Each number gets a coroutine that sleeps ten times as many milliseconds and then prints it: all
 * of them sleep at the same time, in one thread. Without arguments it prints 1 2 3 5 8 13 21, and
 * how long that took: about as long as the largest number, not as the sum. */
#include <coloop.h>
#include <stdio.h>
#include <stdlib.h>

static int sleep_and_print(void *arg)
{
    long number = strtol(arg, NULL, 10);
    int rc = co_sleep(number * 10);
    if (rc == 0)
        printf("%ld\n", number);
    return rc;
}

static int sort(void *arg)
{
    for (char **number = arg; *number; number++) {
        int rc = co_go(sleep_and_print, *number); /* no handle: nobody waits for it */
        if (rc < 0)
            return co_fail(rc, "no coroutine for %s", *number);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char *samples[] = {"8", "2", "21", "1", "13", "5", "3", NULL};
    loop_t *loop = loop_new(NULL);
    int64_t start = loop ? loop_time(loop) : 0;
    co_task_t *task = loop ? loop_spawn(loop, sort, argc > 1 ? argv + 1 : samples) : NULL;
    int rc = loop ? loop_run_until(loop, task) : -1;

    if (rc == 0)
        rc = loop_run(loop); /* sort is done, those that it started are not */
    if (rc == 0)
        printf("it took %lld ms\n", (long long)((loop_time(loop) - start) / 1000000));
    loop_close(loop);
    return rc != 0;
}
