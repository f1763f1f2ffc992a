/* Deadlines, shields and cancelled scopes: which call sees which code, and until when. Misuse is in
 * test_scope_limits.c. */
#include "support.h"

static int64_t now_ms(void)
{
    return loop_time(loop_current()) / MS;
}

static int read_nothing(int fd)
{
    char byte;
    return (int)co_read(fd, &byte, 1);
}

/* --- Timeouts --------------------------------------------------------------------------------- */

static int time_out(void *arg)
{
    (void)arg;
    int64_t begin = now_ms();
    int rc = 1;
    co_timeout(20) rc = co_sleep(50);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(now_ms() - begin, 20);
    co_timeout(50) rc = co_sleep(20);
    CHECK_INT(rc, 0);
    CHECK_INT(now_ms() - begin, 40);
    co_timeout_at(loop_time(loop_current()) + 5 * MS) rc = co_sleep(-1);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(now_ms() - begin, 45);
    co_timeout(-1) rc = co_sleep(10);
    CHECK_INT(rc, 0);
    co_timeout_at(0) rc = co_sleep(-1);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(now_ms() - begin, 55);
    return co_yield_now();
}

static void a_call_ends_when_the_time_around_it_has_passed(void **state)
{
    (void)state;
    assert_int_equal(run_task(time_out, NULL), 0);
}

/* With a sanitizer of undefined behaviour, gcc takes no attribute's word. */
#ifdef __SANITIZE_ADDRESS__
#define UNSET = 1
#else
#define UNSET
#endif

/* That a block sets a variable is known to the compiler: else it would warn here. */
static int set_in_blocks(void *arg)
{
    int first UNSET, second UNSET, third UNSET;
    (void)arg;
    co_timeout(1) first = co_sleep(5);
    co_timeout_at(loop_time(loop_current())) second = co_sleep(5);
    co_shield() third = co_sleep(5);
    CHECK_INT(first, -ETIMEDOUT);
    CHECK_INT(second, -ETIMEDOUT);
    CHECK_INT(third, 0);
    return 0;
}

static void what_a_block_sets_is_set(void **state)
{
    (void)state;
    assert_int_equal(run_task(set_in_blocks, NULL), 0);
}

static int time_out_again(void *arg)
{
    (void)arg;
    co_timeout(10)
    {
        CHECK_INT(co_sleep(50), -ETIMEDOUT);
        for (int i = 0; i < 200; i++) {
            CHECK_INT(co_sleep(1), -ETIMEDOUT);
            CHECK_INT(co_yield_now(), -ETIMEDOUT);
            CHECK_INT(read_nothing(0), -ETIMEDOUT);
        }
        co_timeout(1000) CHECK_INT(co_yield_now(), -ETIMEDOUT);
    }
    CHECK_INT(now_ms(), 10);
    return co_sleep(5);
}

static void an_expired_scope_stays_expired_until_it_is_left(void **state)
{
    (void)state;
    assert_int_equal(run_task(time_out_again, NULL), 0);
}

static int nest_timeouts(void *arg)
{
    (void)arg;
    int rc = 1;
    co_timeout(10)
    {
        co_timeout(30) rc = co_sleep(50); /* the outer one ends it */
        CHECK_INT(rc, -ETIMEDOUT);
        CHECK_INT(now_ms(), 10);
        CHECK_INT(co_yield_now(), -ETIMEDOUT);
    }
    co_timeout(30)
    {
        co_timeout(10) rc = co_sleep(50); /* the inner one does */
        CHECK_INT(rc, -ETIMEDOUT);
        CHECK_INT(now_ms(), 20);
        CHECK_INT(co_sleep(5), 0);
        CHECK_INT(co_sleep(50), -ETIMEDOUT);
        CHECK_INT(now_ms(), 40);
    }
    co_timeout(10) co_timeout(10) rc = co_sleep(50);
    CHECK_INT(rc, -ETIMEDOUT);
    CHECK_INT(now_ms(), 50);
    return co_sleep(5);
}

static void of_nested_timeouts_the_earlier_one_ends_the_call(void **state)
{
    (void)state;
    assert_int_equal(run_task(nest_timeouts, NULL), 0);
}

static int nest_deeply(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    int rc = 0;
    co_timeout(100 + depth % 10) rc = depth ? nest_deeply((void *)(depth - 1)) : co_sleep(-1);
    return rc;
}

static int wait_in_many_scopes(void *arg)
{
    (void)arg;
    CHECK_INT(nest_deeply((void *)100), -ETIMEDOUT);
    return (int)now_ms();
}

static void a_hundred_timeouts_may_be_nested(void **state)
{
    (void)state;
    assert_int_equal(run_task(wait_in_many_scopes, NULL), 100);
}

static int try_calls(void *arg)
{
    int rc = 1, *fds = arg;
    char byte;
    ssize_t n = -1;
    co_timeout(0) n = co_write(fds[0], "x", 1);
    CHECK_INT(n, 1);
    co_timeout(0) n = co_read(fds[1], &byte, 1);
    CHECK_INT(n, 1);
    co_timeout(0) n = co_read(fds[1], &byte, 1);
    CHECK_INT(n, -ETIMEDOUT);
    co_timeout(0) rc = co_sleep(1);
    CHECK_INT(rc, -ETIMEDOUT);
    co_timeout(0) rc = co_await_fd(fds[1], CO_READ | CO_WRITE);
    CHECK_INT(rc, CO_WRITE);
    CHECK_INT(now_ms(), 0);
    return 0;
}

static void a_timeout_of_0_is_a_try(void **state)
{
    (void)state;
    int fds[2];
    make_socketpair(fds);
    assert_int_equal(run_task(try_calls, fds), 0);
    close(fds[0]);
    close(fds[1]);
}

static int busy_in_timeout(void *arg)
{
    (void)arg;
    int calls = 0, rc = 0;
    co_timeout(5) while (rc != -ETIMEDOUT && calls++ < 100000)
    {
        rc = co_await_fd(-1, 0); /* a call that never parks */
        if (calls % 1000 == 0)
            co_shield() CHECK_INT(co_sleep(1), 0); /* so that virtual time passes */
    }
    CHECK(calls < 100000);
    return rc;
}

static void a_timeout_is_noticed_by_a_task_whose_calls_all_return_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_task(busy_in_timeout, NULL), -ETIMEDOUT);
}

static int spin_in_timeout(void *arg)
{
    (void)arg;
    int64_t calls = 0;
    int rc = 0;
    co_timeout(5) while (rc != -ETIMEDOUT && calls++ < INT64_C(2000000000)) rc = co_await_fd(-1, 0);
    return rc;
}

static void in_real_time_too(void **state)
{
    (void)state;
    assert_int_equal(run_real_task(spin_in_timeout, NULL), -ETIMEDOUT);
}

static int yield_in_timeout(void *arg)
{
    (void)arg;
    int rc = 0;
    co_timeout_at(0) for (int i = 0; rc == 0 && i < 100000; i++) rc = co_yield_now();
    return rc;
}

static void a_timeout_is_noticed_by_a_task_that_only_yields(void **state)
{
    (void)state;
    assert_int_equal(run_task(yield_in_timeout, NULL), -ETIMEDOUT);
}

/* --- Shields ---------------------------------------------------------------------------------- */

static int shield_in_timeout(void *arg)
{
    (void)arg;
    co_timeout(10)
    {
        co_shield()
        {
            CHECK_INT(co_sleep(30), 0);
            co_timeout(5) CHECK_INT(co_sleep(10), -ETIMEDOUT); /* its own deadlines count */
            CHECK_INT(co_sleep(5), 0);
        }
        CHECK_INT(now_ms(), 40);
        CHECK_INT(co_sleep(1), -ETIMEDOUT);
    }
    return co_sleep(1);
}

static void a_shield_hides_the_deadline_around_it(void **state)
{
    (void)state;
    assert_int_equal(run_task(shield_in_timeout, NULL), 0);
}

static int shield_around_timeout(void *arg)
{
    (void)arg;
    co_timeout(10) co_shield() co_timeout(20)
    {
        CHECK_INT(co_sleep(15), 0);
        CHECK_INT(co_sleep(15), -ETIMEDOUT);
        CHECK_INT(now_ms(), 20);
        co_shield() CHECK_INT(co_sleep(15), 0);
        CHECK_INT(co_sleep(15), -ETIMEDOUT);
        CHECK_INT(now_ms(), 35);
    }
    return co_sleep(1);
}

static void a_timeout_in_a_shield_is_not_hidden(void **state)
{
    (void)state;
    assert_int_equal(run_task(shield_around_timeout, NULL), 0);
}

static int shield_when_expired(void *arg)
{
    (void)arg;
    co_timeout(10)
    {
        CHECK_INT(co_sleep(20), -ETIMEDOUT);
        co_shield() co_shield() CHECK_INT(co_sleep(20), 0);
        CHECK_INT(co_sleep(20), -ETIMEDOUT);
    }
    return (int)now_ms();
}

static void a_shield_lets_an_expired_task_clean_up(void **state)
{
    (void)state;
    assert_int_equal(run_task(shield_when_expired, NULL), 30);
}

/* A deadline first looked at behind a shield, then with the shield gone, is still kept. */
static int park_shielded_first(void *arg)
{
    (void)arg;
    co_timeout(10)
    {
        co_shield() CHECK_INT(co_sleep(2), 0);
        CHECK_INT(co_sleep(20), -ETIMEDOUT);
    }
    return (int)now_ms();
}

static void a_deadline_counts_again_after_a_shield(void **state)
{
    (void)state;
    assert_int_equal(run_task(park_shielded_first, NULL), 10);
}

/* --- Leaving ---------------------------------------------------------------------------------- */

static int leave_by_return(void)
{
    co_timeout(5) co_shield() co_timeout(5) return co_sleep(10);
    return 1;
}

static int leave_by_goto(void)
{
    co_timeout(5)
    {
        CHECK_INT(co_sleep(10), -ETIMEDOUT);
        goto out;
    }
out:
    return co_sleep(1);
}

static int throw_out(void *arg)
{
    (void)arg;
    co_timeout(5)
    {
        CHECK_INT(co_sleep(10), -ETIMEDOUT);
        co_timeout(5) co_throw(-EIO, "out");
    }
    return 1;
}

static int leave_in_every_way(void *arg)
{
    (void)arg;
    CHECK_INT(leave_by_return(), -ETIMEDOUT);
    CHECK_INT(co_sleep(10), 0);
    CHECK_INT(leave_by_goto(), 0);
    CHECK_INT(co_try(throw_out, NULL), -EIO);
    CHECK_INT(co_sleep(10), 0);
    int rounds = 0;
    for (; rounds < 3; rounds++) {
        co_timeout(5)
        {
            CHECK_INT(co_sleep(10), -ETIMEDOUT);
            if (rounds == 0)
                break; /* leaves the block, which is a loop */
            if (rounds == 1)
                continue;
            CHECK_INT(co_sleep(10), -ETIMEDOUT);
        }
        CHECK_INT(co_sleep(10), 0);
    }
    return rounds;
}

static void a_block_left_by_return_break_continue_goto_or_throw_closes_its_scope(void **state)
{
    (void)state;
    assert_int_equal(run_task(leave_in_every_way, NULL), 3);
}

static int prefix_if(void *arg)
{
    int rc = 1;
    if (arg)
        co_timeout(5) rc = co_sleep(10);
    else
        co_shield() rc = 2;
    return rc;
}

static void a_block_is_a_statement_like_any_other(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, prefix_if, "x")), -ETIMEDOUT);
    assert_int_equal(loop_run_until(loop, loop_spawn(loop, prefix_if, NULL)), 2);
    assert_int_equal(close_loop(loop), 0);
}

static int end_in_time(void *arg)
{
    (void)arg;
    co_timeout(1000) CHECK_INT(co_sleep(1), 0);
    return 0;
}

static void a_scope_that_was_left_does_not_keep_the_loop_running(void **state)
{
    (void)state;
    loop_t *loop = open_loop();
    assert_int_equal(co_go(end_in_time, NULL), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(loop_time(loop), 1 * MS);
    assert_int_equal(close_loop(loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_ends_when_the_time_around_it_has_passed),
        cmocka_unit_test(what_a_block_sets_is_set),
        cmocka_unit_test(an_expired_scope_stays_expired_until_it_is_left),
        cmocka_unit_test(of_nested_timeouts_the_earlier_one_ends_the_call),
        cmocka_unit_test(a_hundred_timeouts_may_be_nested),
        cmocka_unit_test(a_timeout_of_0_is_a_try),
        cmocka_unit_test(a_timeout_is_noticed_by_a_task_whose_calls_all_return_at_once),
        cmocka_unit_test(in_real_time_too),
        cmocka_unit_test(a_timeout_is_noticed_by_a_task_that_only_yields),
        cmocka_unit_test(a_shield_hides_the_deadline_around_it),
        cmocka_unit_test(a_timeout_in_a_shield_is_not_hidden),
        cmocka_unit_test(a_shield_lets_an_expired_task_clean_up),
        cmocka_unit_test(a_deadline_counts_again_after_a_shield),
        cmocka_unit_test(a_block_left_by_return_break_continue_goto_or_throw_closes_its_scope),
        cmocka_unit_test(a_block_is_a_statement_like_any_other),
        cmocka_unit_test(a_scope_that_was_left_does_not_keep_the_loop_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
