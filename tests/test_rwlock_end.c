/* The read-write lock in trouble: strangers, deadlocks, no memory, the close of the loop. */
#include "test_forked.h"

/* --- Unlocking what one does not hold --------------------------------------------------------- */

static int unlock(void *lock)
{
    co_rwlock_unlock(lock);
    return 0;
}

static int write_and_let_unlock(void *lock)
{
    co_spawn_options_t options = {.name = "stranger"};
    CHECK_INT(co_rwlock_wrlock(lock), 0);
    return co_await_task(co_spawn_with(&options, unlock, lock));
}

static int unlock_twice(void *lock)
{
    CHECK_INT(co_rwlock_rdlock(lock), 0);
    co_rwlock_unlock(lock);
    co_rwlock_unlock(lock);
    return 0;
}

static void run_with_a_lock(void *arg)
{
    co_rwlock_t lock = {0};
    co_fn **caller = arg;
    co_run(*caller, &lock);
}

static void unlock_outside(void *arg)
{
    co_rwlock_t lock = {0};
    (void)arg;
    co_rwlock_unlock(&lock);
}

static const char *words_of(co_fn *fn)
{
    return words_of_abort(run_with_a_lock, &fn);
}

static void unlocking_what_one_does_not_hold_aborts_and_names_both(void **state)
{
    (void)state;
    const char *words = words_of(write_and_let_unlock);
    assert_non_null(strstr(words, "co_rwlock_unlock"));
    assert_non_null(strstr(words, "'stranger'"));
    assert_non_null(strstr(words, "*caller")); /* the writer, as co_run names it */
    assert_ptr_equal(strchr(words, '\n'), words + strlen(words) - 1); /* one line */
}

static void unlocking_what_nobody_holds_aborts(void **state)
{
    (void)state;
    assert_non_null(strstr(words_of(unlock), "nobody"));
    assert_non_null(strstr(words_of(unlock_twice), "nobody"));
    assert_non_null(strstr(words_of_abort(unlock_outside, NULL), "co_rwlock_unlock"));
}

/* --- Deadlocks -------------------------------------------------------------------------------- */

static int read_for_ever(void *lock)
{
    int rc = co_rwlock_rdlock(lock);
    return rc < 0 ? rc : co_sleep(-1);
}

static int write_for_ever(void *lock)
{
    int rc = co_rwlock_wrlock(lock);
    return rc < 0 ? rc : co_sleep(-1);
}

/* Runs the three in vain, and returns the report of the n-th, from 1 on. */
static const char *report_of(int n, co_fn *first, co_fn *second, co_fn *third)
{
    static char line[512];
    co_rwlock_t lock = {0};
    co_fn *const fns[] = {first, second, third};
    const char *const names[] = {"one", "two", "three"};
    loop_t *loop = open_loop();
    int count = 0;
    for (; count < 3 && fns[count]; count++) {
        co_spawn_options_t options = {.name = names[count]};
        co_task_release(co_spawn_with(&options, fns[count], &lock));
    }
    assert_int_equal(loop_run(loop), -EDEADLK);
    assert_int_equal(reports(), count);
    const char *text = reported();
    while (--n > 0)
        text = strchr(text, '\n') + 1;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    assert_int_equal(close_loop(loop), count);
    return line;
}

static void a_deadlock_report_names_the_writer_or_says_readers(void **state)
{
    (void)state;
    const char *line = report_of(2, write_for_ever, read_for_ever, write_for_ever);
    assert_non_null(strstr(line, "co_rwlock_rdlock"));
    assert_non_null(strstr(line, "'one'"));
    line = report_of(3, write_for_ever, read_for_ever, write_for_ever);
    assert_non_null(strstr(line, "co_rwlock_wrlock"));
    assert_non_null(strstr(line, "'one'"));
    line = report_of(3, read_for_ever, read_for_ever, write_for_ever);
    assert_non_null(strstr(line, "co_rwlock_wrlock"));
    assert_non_null(strstr(line, "readers"));
}

/* A reader that wants to write waits for itself; which readers there are is not noted. */
static int upgrade(void *lock)
{
    CHECK_INT(co_rwlock_rdlock(lock), 0);
    return co_rwlock_wrlock(lock);
}

static int read_twice(void *lock)
{
    CHECK_INT(co_rwlock_rdlock(lock), 0);
    CHECK_INT(co_sleep(1), 0); /* the writer comes */
    return co_rwlock_rdlock(lock);
}

static void a_reader_that_waits_for_itself_is_reported(void **state)
{
    (void)state;
    const char *line = report_of(1, upgrade, NULL, NULL);
    assert_non_null(strstr(line, "co_rwlock_wrlock"));
    assert_non_null(strstr(line, "readers"));
    line = report_of(1, read_twice, write_for_ever, NULL);
    assert_non_null(strstr(line, "co_rwlock_rdlock"));
    assert_non_null(strstr(line, "readers"));
}

static int leave_it_locked(void *lock)
{
    return co_rwlock_wrlock(lock);
}

/* Its caller's bug, and told as such: the lock stays locked, no other task counts as its owner. */
static int use_after_the_writer_ended(void *arg)
{
    co_rwlock_t lock = {0};
    int rc = 1;
    (void)arg;
    CHECK_INT(co_await_task(co_spawn(leave_it_locked, &lock)), 0);
    co_timeout(5) rc = co_await_task(co_spawn(leave_it_locked, &lock)); /* on the same stack */
    return rc;
}

static void a_writer_that_ended_holds_it_for_ever(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_after_the_writer_ended, NULL), -ETIMEDOUT);
}

/* --- Memory ----------------------------------------------------------------------------------- */

static int read_and_unlock(void *lock)
{
    int rc = co_rwlock_rdlock(lock);
    trace("r%d", rc);
    if (rc == 0)
        co_rwlock_unlock(lock);
    return rc;
}

static int write_and_unlock(void *lock)
{
    int rc = co_rwlock_wrlock(lock);
    trace("w%d", rc);
    if (rc == 0)
        co_rwlock_unlock(lock);
    return rc;
}

static int use_without_memory(void *arg)
{
    co_rwlock_t lock = {0};
    (void)arg;
    co_task_t *tasks[] = {co_spawn(read_and_unlock, &lock), co_spawn(write_and_unlock, &lock),
                          co_spawn(read_and_unlock, &lock), co_spawn(write_and_unlock, &lock)};
    fail_allocation(1, true);
    CHECK_INT(co_rwlock_wrlock(&lock), 0);
    CHECK_INT(co_yield_now(), 0);
    co_task_cancel(tasks[3]);
    co_rwlock_unlock(&lock);
    for (int i = 0; i < 4; i++)
        CHECK_INT(co_yield_now(), 0);
    CHECK_INT((int64_t)allocations(), 0);
    fail_allocation(0, false);
    return co_gather_all(tasks, 4, NULL);
}

static void no_call_allocates(void **state)
{
    (void)state;
    assert_int_equal(run_task(use_without_memory, NULL), 1);
    assert_string_equal(traced(), "w-125 r0 w0 r0");
}

static int wait_without_memory_for_the_deadline(void *arg)
{
    co_rwlock_t lock = {0};
    int rc = 1;
    bool writes = arg != NULL;
    co_task_t *task = co_spawn(read_for_ever, &lock);
    CHECK_INT(co_yield_now(), 0);
    if (!writes) {
        co_task_t *writer = co_spawn(write_and_unlock, &lock);
        CHECK_INT(co_yield_now(), 0);
        fail_allocation(1, true);
        co_timeout(5) rc = co_rwlock_rdlock(&lock);
        fail_allocation(0, false);
        co_task_cancel(task);
        CHECK_INT(co_await_task(task), -ECANCELED);
        co_rwlock_unlock(&lock); /* that task's */
        CHECK_INT(co_await_task(writer), 0);
        return rc;
    }
    fail_allocation(1, true);
    co_timeout(5) rc = co_rwlock_wrlock(&lock);
    fail_allocation(0, false);
    CHECK_INT(co_rwlock_rdlock(&lock), 0); /* it does not stand in line */
    co_task_cancel(task);
    CHECK_INT(co_await_task(task), -ECANCELED);
    CHECK_INT((int64_t)lock.readers, 2);
    return rc;
}

static void without_memory_for_a_deadline_nobody_stands_in_line(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_without_memory_for_the_deadline, NULL), -ENOMEM);
    assert_int_equal(run_task(wait_without_memory_for_the_deadline, "write"), -ENOMEM);
}

/* --- The end of the loop, and outside --------------------------------------------------------- */

static void a_closing_loop_cancels_all_that_wait(void **state)
{
    (void)state;
    co_rwlock_t lock = {0};
    loop_t *loop = open_loop();
    co_task_release(co_spawn(write_for_ever, &lock));
    for (int i = 0; i < 20; i++)
        co_task_release(i % 3 ? co_spawn(read_and_unlock, &lock)
                              : co_spawn(write_and_unlock, &lock));
    loop_run_once(loop, 0);
    assert_int_equal(close_loop(loop), 21);
    assert_non_null(strstr(traced(), "r-125"));
    assert_non_null(strstr(traced(), "w-125"));
    assert_null(strstr(traced(), "r0"));
    assert_null(strstr(traced(), "w0"));
}

static void outside_a_coroutine_it_cannot_be_locked(void **state)
{
    (void)state;
    co_rwlock_t lock = {0};
    assert_int_equal(co_rwlock_rdlock(&lock), -EPERM);
    assert_int_equal(co_rwlock_wrlock(&lock), -EPERM);
    assert_int_equal(lock.readers, 0);
    assert_null(lock.writer);
}

static void unlock_it(void *lock)
{
    co_rwlock_unlock(lock);
}

/* Readers are only counted: who ends a read is up to the program. */
static int let_a_callback_unlock(void *arg)
{
    co_rwlock_t lock = {0};
    (void)arg;
    CHECK_INT(co_rwlock_rdlock(&lock), 0);
    CHECK_INT(loop_call_later(loop_current(), 5, unlock_it, &lock, NULL), 0);
    return co_await_task(co_spawn(write_and_unlock, &lock));
}

static void a_callback_may_end_a_read(void **state)
{
    (void)state;
    assert_int_equal(run_task(let_a_callback_unlock, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unlocking_what_one_does_not_hold_aborts_and_names_both),
        cmocka_unit_test(unlocking_what_nobody_holds_aborts),
        cmocka_unit_test(a_deadlock_report_names_the_writer_or_says_readers),
        cmocka_unit_test(a_reader_that_waits_for_itself_is_reported),
        cmocka_unit_test(a_writer_that_ended_holds_it_for_ever),
        cmocka_unit_test(no_call_allocates),
        cmocka_unit_test(without_memory_for_a_deadline_nobody_stands_in_line),
        cmocka_unit_test(a_closing_loop_cancels_all_that_wait),
        cmocka_unit_test(outside_a_coroutine_it_cannot_be_locked),
        cmocka_unit_test(a_callback_may_end_a_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
