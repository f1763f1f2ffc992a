/* A task whose calls all succeed gives way after a number of them, in the last one. Whichever that
 * is, what it is about to wait for does not pass it by meanwhile. */
#include "support.h"

#include <sys/socket.h>

enum { CALLS_MAX = 70 }; /* more than may succeed in a row */

static void use_up(int calls)
{
    co_sem_t sem;
    co_sem_init(&sem, CALLS_MAX);
    while (calls-- > 0)
        CHECK_INT(co_sem_acquire(&sem), 0);
}

static void soon(loop_fn *fn, void *arg)
{
    CHECK_INT(loop_call_soon(loop_current(), fn, arg, NULL), 0);
}

/* Runs fn with each number of calls before. */
static void with_each_number_of_calls(co_fn *fn)
{
    for (int calls = 0; calls <= CALLS_MAX; calls++) {
        loop_t *loop = open_loop();
        co_task_t *task = loop_spawn(loop, fn, (void *)(intptr_t)calls);
        int rc = loop_run_until(loop, task);
        if (rc < 0) {
            print_message("after %d calls\n", calls);
            co_task_release(task);
        }
        assert_int_equal(rc, 0);
        close_loop(loop);
    }
}

/* --- Conditions and events -------------------------------------------------------------------- */

static bool ready;
static co_cond_t cond;

static void get_ready(void *arg)
{
    (void)arg;
    ready = true;
    co_cond_signal(&cond);
}

static int wait_until_ready(void *arg)
{
    co_mutex_t mutex = {0};
    ready = false;
    CHECK_INT(co_mutex_lock(&mutex), 0);
    use_up((int)(intptr_t)arg);
    soon(get_ready, NULL);
    while (!ready)
        CHECK_INT(co_cond_wait(&cond, &mutex), 0);
    co_mutex_unlock(&mutex);
    return 0;
}

static void a_condition_is_signalled_to_who_is_about_to_wait(void **state)
{
    (void)state;
    with_each_number_of_calls(wait_until_ready);
}

static void pulse(void *event)
{
    co_event_set(event);
    co_event_clear(event);
}

static int wait_for_pulse(void *arg)
{
    co_event_t event = {0};
    use_up((int)(intptr_t)arg);
    soon(pulse, &event);
    return co_event_wait(&event);
}

static int select_pulse(void *arg)
{
    co_event_t event = {0};
    co_case_t cases[] = {CO_EVENT(&event)};
    use_up((int)(intptr_t)arg);
    soon(pulse, &event);
    return co_select(cases, 1);
}

static void an_event_is_seen_though_it_is_cleared_at_once(void **state)
{
    (void)state;
    with_each_number_of_calls(wait_for_pulse);
    with_each_number_of_calls(select_pulse);
}

/* --- Futures ---------------------------------------------------------------------------------- */

static void resolve_and_free(void *arg)
{
    co_future_t *future = arg;
    co_future_resolve(future, 0, "value");
    memset(future, 0x55, sizeof *future);
    free(future);
}

static int await_value(void *arg)
{
    co_future_t *future = calloc(1, sizeof *future);
    void *value = NULL;
    use_up((int)(intptr_t)arg);
    soon(resolve_and_free, future);
    CHECK_INT(co_await_future(future, &value), 0);
    CHECK(value && strcmp(value, "value") == 0);
    return 0;
}

static int select_future(void *arg)
{
    co_future_t *future = calloc(1, sizeof *future);
    co_case_t cases[] = {CO_FUTURE(future)};
    use_up((int)(intptr_t)arg);
    soon(resolve_and_free, future);
    return co_select(cases, 1);
}

static void a_future_may_go_away_once_it_is_settled(void **state)
{
    (void)state;
    with_each_number_of_calls(await_value);
    with_each_number_of_calls(select_future);
}

/* --- Fds -------------------------------------------------------------------------------------- */

static int fds[2], other[2];

/* The number is another file afterwards, which has something to read. */
static void close_and_reuse(void *arg)
{
    (void)arg;
    co_close(fds[0]);
    make_socketpair(other);
    CHECK_INT(other[0], fds[0]);
    CHECK_INT(co_adopt(other[0]), 0);
    CHECK_INT(write(other[1], "x", 1), 1);
}

static int read_what_is_closed(void *arg)
{
    char byte;
    make_socketpair(fds);
    CHECK_INT(co_adopt(fds[0]), 0);
    use_up((int)(intptr_t)arg);
    soon(close_and_reuse, NULL);
    CHECK_INT(co_read(fds[0], &byte, 1), -EBADF);
    co_close(other[0]);
    co_close(other[1]);
    co_close(fds[1]);
    return 0;
}

static void a_read_does_not_go_on_in_another_file(void **state)
{
    (void)state;
    with_each_number_of_calls(read_what_is_closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_is_signalled_to_who_is_about_to_wait),
        cmocka_unit_test(an_event_is_seen_though_it_is_cleared_at_once),
        cmocka_unit_test(a_future_may_go_away_once_it_is_settled),
        cmocka_unit_test(a_read_does_not_go_on_in_another_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
