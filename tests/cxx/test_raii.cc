// C++ objects in coroutines: they are destroyed in time whichever way a block is left, by a
// cancellation that is passed on, an exception or the end of the loop.
#include "check.h"

#include <stdexcept>

// --- Cancellation --------------------------------------------------------------------------------

static int hold_things(void *)
{
    noisy a("a");
    noisy b("b");
    int rc = co_sleep(-1);
    trace(std::to_string(rc == -ECANCELED));
    if (rc < 0)
        return rc;
    trace("never");
    return 0;
}

static int cancel_it(void *)
{
    co_task_t *task = co_spawn(hold_things, nullptr);
    CHECK(co_sleep(5) == 0);
    CHECK(noisy::alive == 2);
    co_task_cancel(task);
    CHECK(co_await_task(task) == -ECANCELED);
    CHECK(noisy::alive == 0);
    return 0;
}

static void a_cancelled_task_destroys_what_it_holds()
{
    CHECK(run(cancel_it) == 0);
    CHECK_TRACE("1 ~b ~a");
}

// The errno as an exception: what a program in C++ may make of a code.
struct interrupted {
    int code;
};
static void check(int rc)
{
    if (rc < 0)
        throw interrupted{rc};
}

static void deep(int depth)
{
    noisy here(std::string("d").append(std::to_string(depth)));
    if (depth)
        deep(depth - 1);
    else
        check(co_sleep(-1));
}

static int throw_code(void *)
{
    try {
        deep(2);
    } catch (const interrupted &e) {
        CHECK(co_sleep(1) == -ECANCELED); // still: it is no less cancelled in the handler
        co_shield() CHECK(co_sleep(1) == 0);
        return e.code;
    }
    return 0;
}

static int cancel_deep(void *)
{
    co_task_t *task = co_spawn(throw_code, nullptr);
    CHECK(co_yield_now() == 0);
    co_task_cancel(task);
    CHECK(co_await_task(task) == -ECANCELED);
    return 0;
}

static void a_code_thrown_as_an_exception_unwinds_a_cancelled_task()
{
    CHECK(run(cancel_deep) == 0);
    CHECK_TRACE("~d0 ~d1 ~d2");
}

static void closing_a_loop_destroys_what_its_tasks_hold()
{
    loop_t *loop = open_loop();
    co_task_release(loop_spawn(loop, hold_things, nullptr));
    co_task_release(loop_spawn(loop, throw_code, nullptr));
    CHECK(loop_run_once(loop, 0) == 1);
    CHECK(noisy::alive == 5);
    CHECK(loop_close(loop) == 2);
    CHECK(noisy::alive == 0);
    CHECK_TRACE("1 ~b ~a ~d0 ~d1 ~d2");
}

// A destructor that suspends to clean up, in a task that is cancelled.
struct connection {
    ~connection()
    {
        CHECK(co_sleep(1) == -ECANCELED);
        co_shield()
        {
            CHECK(co_sleep(3) == 0);
        }
        trace("closed");
    }
};

static int connect_and_wait(void *)
{
    connection it;
    return co_sleep(-1);
}

static int cancel_connection(void *)
{
    co_task_t *task = co_spawn(connect_and_wait, nullptr);
    CHECK(co_yield_now() == 0);
    co_task_cancel(task);
    CHECK(co_await_task(task) == -ECANCELED);
    return 0;
}

static void destructors_suspend_shielded()
{
    CHECK(run(cancel_connection) == 0);
    CHECK_TRACE("closed");
}

// --- Time limits ---------------------------------------------------------------------------------

static int leave_by_return()
{
    co_timeout(10)
    {
        noisy in("return");
        return co_sleep(-1);
    }
    return 0;
}

static int leave_blocks(void *)
{
    int rc = 0;
    co_timeout(10)
    {
        noisy in("end");
        rc = co_sleep(-1);
    }
    CHECK(rc == -ETIMEDOUT);

    try {
        co_timeout(10)
        {
            noisy in("exception");
            co_timeout(1000) co_shield()
            {
                noisy deeper("deeper");
                throw std::runtime_error("x");
            }
        }
    } catch (const std::runtime_error &) {
        CHECK(co_sleep(20) == 0); // the limit was left with the block
    }
    CHECK(co_sleep(20) == 0);
    CHECK(leave_by_return() == -ETIMEDOUT);
    CHECK(co_sleep(20) == 0);

    for (int i = 0; i < 3; i++)
        co_timeout(10)
        {
            noisy in("break");
            break; // leaves the block, which is a loop that runs once
        }
    CHECK(co_sleep(20) == 0);
    return 0;
}

static void time_limits_end_with_their_block()
{
    CHECK(run(leave_blocks) == 0);
    CHECK_TRACE("~end ~deeper ~exception ~return ~break ~break ~break");
}

static int handle_with_a_limit(void *)
{
    try {
        throw std::runtime_error("outer");
    } catch (const std::runtime_error &e) {
        int rc = 0;
        co_timeout(10) rc = co_sleep(-1);
        CHECK(rc == -ETIMEDOUT);
        trace(e.what());
    }
    return 0;
}

static void time_limits_in_a_handler()
{
    CHECK(run(handle_with_a_limit) == 0);
    CHECK_TRACE("outer");
}

// --- Groups --------------------------------------------------------------------------------------

static int child(void *arg)
{
    noisy mine(static_cast<const char *>(arg));
    int rc = co_sleep(-1);
    co_shield() CHECK(co_sleep(5) == 0);
    return rc;
}

static int throw_out_of_group(void *)
{
    char a[] = "child-a", b[] = "child-b", c[] = "child-c";
    try {
        int rc = 0;
        co_group(outer, &rc)
        {
            noisy body("body");
            CHECK(co_group_spawn(outer, child, a) == 0);
            co_group(inner, nullptr)
            {
                CHECK(co_group_spawn(inner, child, b) == 0);
                CHECK(co_group_spawn(inner, child, c) == 0);
                CHECK(co_sleep(1) == 0);
                throw std::runtime_error("out of two groups");
            }
        }
    } catch (const std::runtime_error &e) {
        trace(e.what());
    }
    CHECK(noisy::alive == 0);
    return 0;
}

// Both groups wait for their children while the exception is in flight.
static void an_exception_leaves_groups()
{
    CHECK(run(throw_out_of_group) == 0);
    CHECK_TRACE("~child-b ~child-c ~body ~child-a out of two groups");
}

static int catch_in_child(void *arg)
{
    auto *number = static_cast<int *>(arg);
    try {
        check(co_sleep(*number));
        throw std::runtime_error("failed");
    } catch (const std::runtime_error &) {
        return -EIO;
    } catch (const interrupted &e) {
        *number = e.code;
        return e.code;
    }
}

static int first_failure(void *)
{
    int soon = 1, late = 1000, rc = 0, body = 0;
    co_group(g, &rc)
    {
        CHECK(co_group_spawn(g, catch_in_child, &soon) == 0);
        CHECK(co_group_spawn(g, catch_in_child, &late) == 0);
        body = co_sleep(-1);
    }
    CHECK(rc == -EIO && body == -ECANCELED && late == -ECANCELED);
    return 0;
}

static void the_first_failure_cancels_the_others()
{
    CHECK(run(first_failure) == 0);
}

// --- Deferred calls, gather, locks, channels -----------------------------------------------------

static void say(void *word)
{
    trace(static_cast<const char *>(word));
}

static int defer_and_throw(void *)
{
    char one[] = "deferred-1", two[] = "deferred-2";
    try {
        co_defer(say, one);
        noisy between("between");
        co_defer(say, two);
        throw 1;
    } catch (int) {
    }
    return 0;
}

static void deferred_calls_and_destructors_take_turns()
{
    CHECK(run(defer_and_throw) == 0);
    CHECK_TRACE("deferred-2 ~between deferred-1");
}

class lock
{
  public:
    explicit lock(co_mutex_t &mutex_) : mutex(mutex_)
    {
        check(co_mutex_lock(&mutex));
    }
    lock(const lock &) = delete;
    lock &operator=(const lock &) = delete;
    ~lock()
    {
        co_mutex_unlock(&mutex);
    }

  private:
    co_mutex_t &mutex;
};

static int sleep_locked(void *arg)
{
    try {
        lock held(*static_cast<co_mutex_t *>(arg));
        check(co_sleep(10));
        return 1;
    } catch (const interrupted &e) {
        return e.code;
    }
}

static int contend(void *)
{
    co_mutex_t mutex = {};
    co_task_t *first = co_spawn(sleep_locked, &mutex), *second = co_spawn(sleep_locked, &mutex),
              *third = co_spawn(sleep_locked, &mutex);
    CHECK(co_sleep(5) == 0);
    co_task_cancel(first);  // while it holds the lock
    co_task_cancel(second); // while it waits for it, and gets it in this moment
    CHECK(co_await_task(first) == -ECANCELED);
    CHECK(co_await_task(second) == -ECANCELED);
    CHECK(co_await_task(third) == 1);
    CHECK(co_mutex_trylock(&mutex) == 0);
    co_mutex_unlock(&mutex);
    return 0;
}

static void a_guard_releases_a_mutex_on_cancellation()
{
    CHECK(run(contend) == 0);
}

struct point {
    int x, y;
};

static int send_points(void *arg)
{
    for (int i = 0; i < 3; i++) {
        point p = {i, i * i};
        check(co_chan_send(static_cast<co_chan_t *>(arg), &p));
    }
    co_chan_close(static_cast<co_chan_t *>(arg));
    return 0;
}

static int select_points(void *)
{
    co_chan_t *chan = co_chan_new(sizeof(point), 0);
    co_task_t *sender = co_spawn(send_points, chan);
    int sum = 0;
    for (;;) {
        point p = {};
        co_case_t cases[] = {CO_RECV(chan, &p), CO_AFTER(1000)};
        CHECK(co_select(cases, 2) == 0);
        if (cases[0].result == -EPIPE)
            break;
        sum += p.x + p.y;
    }
    CHECK(co_await_task(sender) == 0);
    co_chan_free(chan);
    return sum;
}

static void channels_carry_structs()
{
    CHECK(run(select_points) == 8);
}

int main()
{
    a_cancelled_task_destroys_what_it_holds();
    a_code_thrown_as_an_exception_unwinds_a_cancelled_task();
    closing_a_loop_destroys_what_its_tasks_hold();
    destructors_suspend_shielded();
    time_limits_end_with_their_block();
    time_limits_in_a_handler();
    an_exception_leaves_groups();
    the_first_failure_cancels_the_others();
    deferred_calls_and_destructors_take_turns();
    a_guard_releases_a_mutex_on_cancellation();
    channels_carry_structs();
    std::puts("raii: ok");
    return 0;
}
