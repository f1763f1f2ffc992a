/* What loop_dump, loop_stats and the slow warnings of debug mode tell. */
#include "support.h"

#include <stdio.h>

enum { CHAIN = 1000 };

/* --- Reading a dump
 * -------------------------------------------------------------------------------------- */

/* Inlined at -O3, gcc 12 takes the result for a pointer to `text`. */
static __attribute__((noinline)) char *dump_of(loop_t *loop)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    CHECK(file != NULL);
    loop_dump(loop, file);
    fclose(file);
    return text;
}

/* Traces each task of the dump as "depth:name#id:state", and checks what is told about its stack.
 */
static void trace_dump(char *dump)
{
    char *line = strtok(dump, "\n");
    CHECK(line && strncmp(line, "loop ", 5) == 0);
    while ((line = strtok(NULL, "\n"))) {
        int depth = (int)strspn(line, " "), id = 0, used = 0;
        char name[64], state[16];
        size_t stack_used = 0, stack_size = 0;
        CHECK_INT(sscanf(line + depth, "'%63[^']' (#%d) %15[a-z]%n", name, &id, state, &used), 3);
        const char *stack = strstr(line + depth + used, "stack ");
        CHECK(stack && sscanf(stack, "stack %zu of %zu bytes", &stack_used, &stack_size) == 2);
        CHECK(stack_used < stack_size);
        trace("%d:%s#%d:%s%s", depth / 2, name, id, state,
              strstr(line, ", cancelled") ? "+cancelled" : "");
    }
}

static void dump_and_trace(loop_t *loop)
{
    char *dump = dump_of(loop);
    trace_dump(dump);
    free(dump);
}

/* --- The tree
 * -------------------------------------------------------------------------------------------- */

static int sleeper(void *arg)
{
    (void)arg;
    return co_sleep(1000);
}

static int reader(void *arg)
{
    char byte;
    return (int)co_read(*(int *)arg, &byte, 1);
}

static int joiner(void *arg)
{
    co_go(sleeper, NULL);
    return co_await_task(co_spawn(sleeper, arg));
}

static int deaf(void *arg)
{
    (void)arg;
    co_shield() co_sleep(1000);
    return 0;
}

static int fresh(void *arg)
{
    (void)arg;
    return 0;
}

static int trunk(void *arg)
{
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    co_task_t *shielded = co_spawn(deaf, NULL), *reading = co_spawn(reader, &fds[0]);
    co_go(joiner, NULL);
    co_sleep(250);
    co_task_cancel(shielded);
    co_go(fresh, NULL);
    *(char **)arg = dump_of(loop_current());
    co_task_cancel(reading);
    CHECK_INT(co_await_task(reading), -ECANCELED);
    CHECK_INT(co_await_task(shielded), 0);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static void tasks_are_shown_under_those_that_spawned_them(void **state)
{
    (void)state;
    char *dump = NULL;
    assert_int_equal(run_task(trunk, &dump), 0);
    assert_non_null(strstr(dump, "virtual time"));
    assert_non_null(strstr(dump, "7 tasks"));
    assert_non_null(strstr(dump, "1 waits for fds"));
    trace_dump(dump);
    free(dump);
    assert_string_equal(
        traced(), "1:trunk#1:running 2:deaf#2:waiting+cancelled 2:reader#3:waiting "
                  "2:joiner#4:waiting 3:sleeper#5:waiting 3:sleeper#6:waiting 2:fresh#7:ready");
}

static void a_waiting_task_tells_for_what_where_and_how_long(void **state)
{
    (void)state;
    char *dump = NULL, *reading, *joining, *sleeping;
    assert_int_equal(run_task(trunk, &dump), 0);
    reading = strstr(dump, "'reader'");
    joining = strstr(dump, "'joiner'");
    sleeping = strstr(dump, "'sleeper' (#5)");
    assert_true(reading && joining && sleeping);
    for (char *p = dump; *p; p++)
        *p = *p == '\n' ? '\0' : *p; /* a string for each line */
    assert_non_null(strstr(reading, "co_read"));
    assert_non_null(strstr(reading, "fd "));
    assert_non_null(strstr(reading, "readable"));
    assert_non_null(strstr(reading, "test_dump.c:"));
    assert_non_null(strstr(reading, "for 0.250 s"));
    assert_non_null(strstr(reading, "spawned at"));
    assert_non_null(strstr(joining, "co_await_task"));
    assert_non_null(strstr(joining, "'sleeper' (#6)"));
    assert_non_null(strstr(sleeping, "co_sleep"));
    assert_non_null(strstr(sleeping, "0.750 s to go"));
    free(dump);
}

static int short_parent(void *arg)
{
    co_go(joiner, arg);
    co_go(sleeper, arg);
    return 0;
}

/* The parent ends, and the grandparent goes on. */
static int grandparent(void *arg)
{
    CHECK_INT(co_await_task(co_spawn(short_parent, arg)), 0);
    co_sleep(1);
    dump_and_trace(loop_current());
    return 0;
}

static void children_of_a_task_that_ended_stand_at_the_top(void **state)
{
    (void)state;
    assert_int_equal(run_task(grandparent, NULL), 0);
    assert_string_equal(traced(), "1:grandparent#1:running 1:joiner#3:waiting 2:sleeper#5:waiting "
                                  "2:sleeper#6:waiting 1:sleeper#4:waiting");
}

static int link_of_chain(void *arg)
{
    int left = *(int *)arg - 1;
    if (left)
        CHECK_INT(co_go(link_of_chain, &left), 0);
    return co_sleep(1000);
}

static void check_chain(const char *dump)
{
    int lines = 0;
    for (const char *line = strchr(dump, '\n') + 1; *line; line = strchr(line, '\n') + 1)
        assert_int_equal(strspn(line, " "), 2 * ++lines);
    assert_int_equal(lines, CHAIN);
}

static void a_chain_of_a_thousand_tasks_is_shown(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    int length = CHAIN;
    co_task_t *task = loop_spawn(loop, link_of_chain, &length);
    for (int i = 0; i < CHAIN + 5; i++)
        loop_run_once(loop, 0);
    char *dump = dump_of(loop);
    check_chain(dump);
    free(dump);
    assert_int_equal(loop_run_until(loop, task), 0);
    close_loop(loop);
}

/* --- Other loops
 * ----------------------------------------------------------------------------------------- */

static void a_null_loop_is_said_to_be_none(void **state)
{
    (void)state;
    char *dump = dump_of(NULL);
    assert_non_null(strstr(dump, "no loop"));
    free(dump);
}

static void a_null_file_is_stderr(void **state)
{
    (void)state;
    char text[512] = "";
    FILE *file = tmpfile();
    int saved = dup(2);
    assert_true(file && saved >= 0);
    loop_t *loop = open_loop();
    fflush(stderr);
    dup2(fileno(file), 2);
    loop_dump(loop, NULL);
    loop_dump(NULL, NULL);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    close_loop(loop);
    assert_non_null(strstr(text, "0 tasks"));
    assert_non_null(strstr(text, "no loop"));
}

static void dump_from_callback(void *arg)
{
    char *dump = dump_of(arg);
    trace_dump(dump);
    free(dump);
}

static void a_dump_may_be_made_by_a_callback_and_between_runs(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    dump_and_trace(loop);
    co_task_t *task = loop_spawn(loop, sleeper, NULL);
    dump_and_trace(loop);
    loop_run_once(loop, 0);
    assert_int_equal(loop_call_soon(loop, dump_from_callback, loop, NULL), 0);
    loop_run_once(loop, 0);
    assert_int_equal(loop_run_until(loop, task), 0);
    dump_and_trace(loop);
    assert_string_equal(traced(), "1:sleeper#1:ready 1:sleeper#1:waiting");
    close_loop(loop);
}

static void without_memory_all_tasks_are_told_without_a_tree(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    co_task_t *task = loop_spawn(loop, joiner, NULL);
    for (int i = 0; i < 3; i++)
        loop_run_once(loop, 0);
    fail_allocation(1, true);
    dump_and_trace(loop);
    fail_allocation(0, false);
    assert_string_equal(traced(), "1:joiner#1:waiting 1:sleeper#2:waiting 1:sleeper#3:waiting");
    assert_int_equal(loop_run_until(loop, task), 0);
    close_loop(loop);
}

/* --- Statistics
 * ------------------------------------------------------------------------------------------ */

static void nothing(void *arg)
{
    (void)arg;
}

static int awaiting(void *arg)
{
    int rc = 0;
    co_timeout(500) rc = co_await_fd(*(int *)arg, CO_READ);
    return rc == -ETIMEDOUT ? 0 : -1;
}

static void statistics_count_what_there_is(void **state)
{
    (void)state;
    int fds[2];
    loop_stats_t stats;
    loop_t *loop = open_loop();
    make_socketpair(fds);
    loop_stats(loop, &stats);
    assert_int_equal(
        stats.tasks + stats.tasks_peak + stats.tasks_total + stats.ready + stats.timers, 0);
    assert_int_equal(stats.watchers + stats.fd_waiters + stats.stacks + stats.passes + stats.runs,
                     0);
    co_task_t *tasks[3] = {loop_spawn(loop, awaiting, &fds[0]), loop_spawn(loop, sleeper, NULL),
                           loop_spawn(loop, fresh, NULL)};
    assert_int_equal(loop_call_later(loop, 100, nothing, NULL, NULL), 0);
    assert_int_equal(loop_call_soon(loop, nothing, NULL, NULL), 0);
    assert_int_equal(loop_add_reader(loop, fds[0], nothing, NULL), 0);
    loop_stats(loop, &stats);
    assert_int_equal(stats.tasks, 3);
    assert_int_equal(stats.ready, 4);
    assert_int_equal(stats.timers, 1);
    assert_int_equal(stats.watchers, 1);
    loop_run_once(loop, 0);
    loop_stats(loop, &stats);
    assert_int_equal(stats.tasks, 2);
    assert_int_equal(stats.tasks_peak, 3);
    assert_int_equal(stats.tasks_total, 3);
    assert_int_equal(stats.ready, 0);
    assert_int_equal(stats.timers, 3); /* a call, a sleep, a deadline */
    assert_int_equal(stats.fd_waiters, 1);
    assert_int_equal(stats.passes, 1);
    assert_int_equal(stats.runs, 4); /* three tasks and the call */
    assert_true(stats.polls >= 1);
    assert_true(stats.stacks >= 3);
    assert_true(stats.stack_bytes >= 3 * 64 * 1024);
    assert_int_equal(loop_remove_reader(loop, fds[0]), 1);
    assert_int_equal(loop_run(loop), 0);
    loop_stats(loop, &stats);
    assert_int_equal(stats.tasks + stats.timers + stats.watchers + stats.fd_waiters, 0);
    for (int i = 0; i < 3; i++)
        co_task_release(tasks[i]);
    loop_stats(loop, &stats);
    assert_int_equal(stats.stacks_idle, stats.stacks);
    close_loop(loop);
    close(fds[0]);
    close(fds[1]);
}

static int count_events(void *arg)
{
    loop_stats_t before, after;
    int *fds = arg;
    char byte;
    CHECK_INT(co_await_task(co_spawn(awaiting, &fds[0])), 0);
    loop_stats(loop_current(), &before);
    co_task_t *task = co_spawn(reader, &fds[0]);
    co_yield_now();
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(co_await_task(task), 1);
    loop_stats(loop_current(), &after);
    CHECK(after.events > before.events && after.polls > before.polls);
    CHECK(after.runs >= before.runs + 3);
    CHECK(recv(fds[0], &byte, 1, MSG_DONTWAIT) < 0);
    return 0;
}

static void statistics_count_polls_and_events(void **state)
{
    (void)state;
    int fds[2];
    make_socketpair(fds);
    assert_int_equal(run_task(count_events, fds), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_shown_under_those_that_spawned_them),
        cmocka_unit_test(a_waiting_task_tells_for_what_where_and_how_long),
        cmocka_unit_test(children_of_a_task_that_ended_stand_at_the_top),
        cmocka_unit_test(a_chain_of_a_thousand_tasks_is_shown),
        cmocka_unit_test(a_null_loop_is_said_to_be_none),
        cmocka_unit_test(a_null_file_is_stderr),
        cmocka_unit_test(a_dump_may_be_made_by_a_callback_and_between_runs),
        cmocka_unit_test(without_memory_all_tasks_are_told_without_a_tree),
        cmocka_unit_test(statistics_count_what_there_is),
        cmocka_unit_test(statistics_count_polls_and_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
