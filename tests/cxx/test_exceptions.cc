// C++ exceptions in coroutines. The runtime keeps for each thread which exceptions are being
// handled and how many are in flight; a task that is suspended meanwhile takes that along.
#include "check.h"

#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

// The message of the exception that is being handled here, by way of the runtime's own state.
static std::string handled()
{
    std::exception_ptr current = std::current_exception();
    if (!current)
        return "none";
    try {
        std::rethrow_exception(current);
    } catch (const std::exception &e) {
        return e.what();
    }
}

// --- Within one task -----------------------------------------------------------------------------

static void dive(int depth)
{
    noisy here(std::string("d").append(std::to_string(depth)));
    CHECK(co_yield_now() == 0);
    if (depth == 0)
        throw std::runtime_error("bottom");
    dive(depth - 1);
}

static int thrown_from_depth(void *)
{
    try {
        dive(3);
    } catch (const std::runtime_error &e) {
        trace(e.what());
        return 1;
    }
    return 0;
}

static void thrown_and_caught_inside()
{
    CHECK(run(thrown_from_depth) == 1);
    CHECK_TRACE("~d0 ~d1 ~d2 ~d3 bottom");
}

// --- Suspended in a handler ----------------------------------------------------------------------

struct plan {
    const char *name;
    int first, second; // milliseconds: in the handler, in a handler inside it
};

static int handle(void *arg)
{
    auto *plan = static_cast<struct plan *>(arg);
    std::string outer = std::string(plan->name) + "1", inner = std::string(plan->name) + "2";
    try {
        try {
            throw std::runtime_error(outer);
        } catch (const std::runtime_error &) {
            CHECK(co_sleep(plan->first) == 0);
            CHECK(handled() == outer);
            try {
                throw std::logic_error(inner);
            } catch (const std::logic_error &) {
                CHECK(co_sleep(plan->second) == 0);
                CHECK(handled() == inner);
                trace(inner);
            }
            CHECK(handled() == outer);
            CHECK(co_yield_now() == 0);
            throw; // its own one, whoever else handles something
        }
    } catch (const std::runtime_error &e) {
        CHECK(e.what() == outer);
        trace(e.what());
    }
    CHECK(handled() == "none");
    return 0;
}

// Handlers begin and end in no order that a stack would allow.
static int three_handle(void *)
{
    CHECK(handled() == "none");
    plan a = {"a", 10, 50}, b = {"b", 20, 15}, c = {"c", 5, 22};
    co_task_t *tasks[] = {co_spawn(handle, &a), co_spawn(handle, &b), co_spawn(handle, &c)};
    CHECK(co_sleep(12) == 0); // all three are in a handler now
    CHECK(handled() == "none");
    return co_gather_tasks(tasks, 3);
}

static void handlers_of_several_tasks_overlap()
{
    CHECK(run(three_handle) == 0);
    CHECK_TRACE("c2 c1 b2 b1 a2 a1");
}

// Many tasks, nested as deep as their number says, in an order that changes with every run of it.
static unsigned dice = 1;

static void nest(const std::string &name, int depth)
{
    std::string mine = name + '/' + std::to_string(depth);
    try {
        throw std::runtime_error(mine);
    } catch (const std::runtime_error &e) {
        for (unsigned i = (dice = dice * 1103515245 + 12345) >> 16 & 3; i; i--) {
            CHECK(co_sleep_ns(1 + (dice >> 20 & 7)) == 0);
            CHECK(handled() == mine);
        }
        if (depth)
            nest(name, depth - 1);
        CHECK(handled() == mine);
        CHECK(e.what() == mine);
    }
}

static int nester(void *arg)
{
    auto number = static_cast<int>(reinterpret_cast<intptr_t>(arg));
    for (int round = 0; round < 5; round++)
        nest(std::to_string(number), number % 5);
    CHECK(handled() == "none");
    return 0;
}

static int many_nest(void *)
{
    std::vector<co_task_t *> tasks;
    for (intptr_t i = 0; i < 100; i++)
        tasks.push_back(co_spawn(nester, reinterpret_cast<void *>(i)));
    return co_gather_tasks(tasks.data(), tasks.size());
}

static void many_tasks_handle_at_once()
{
    CHECK(run(many_nest) == 0);
}

// --- Suspended while an exception is in flight ---------------------------------------------------

struct slow_to_clean {
    ~slow_to_clean()
    {
        CHECK(std::uncaught_exceptions() == 1);
        CHECK(co_sleep(10) == 0);
        CHECK(std::uncaught_exceptions() == 1);
        trace("clean");
    }
};

static int throw_past_it(void *)
{
    try {
        slow_to_clean it;
        throw std::runtime_error("in flight");
    } catch (const std::runtime_error &e) {
        CHECK(std::uncaught_exceptions() == 0);
        trace(e.what());
    }
    return 0;
}

static int look_meanwhile(void *)
{
    for (int i = 0; i < 5; i++) {
        CHECK(std::uncaught_exceptions() == 0);
        CHECK(co_sleep(4) == 0);
    }
    return 0;
}

static int in_flight(void *)
{
    return co_gather(co_spawn(throw_past_it, nullptr), co_spawn(look_meanwhile, nullptr),
                     co_spawn(throw_past_it, nullptr));
}

static void destructors_suspend_during_unwinding()
{
    CHECK(run(in_flight) == 0);
    CHECK_TRACE("clean in flight clean in flight");
}

// --- The other ways from stack to stack ----------------------------------------------------------

static int see_nothing(void *)
{
    for (int i = 0; i < 3; i++) {
        CHECK(handled() == "none");
        CHECK(std::uncaught_exceptions() == 0);
        CHECK(co_yield_now() == 0);
    }
    return 7;
}

static void a_loop_runs_in_a_handler()
{
    try {
        throw std::runtime_error("main");
    } catch (const std::runtime_error &) {
        CHECK(run(see_nothing) == 7);
        CHECK(run(three_handle) == 0);
        CHECK(handled() == "main");
    }
    CHECK(handled() == "none");
    traced.clear();
}

static int spawn_eagerly(void *)
{
    co_spawn_options_t options = {};
    options.eager = true;
    co_task_t *child = nullptr;
    try {
        throw std::runtime_error("parent");
    } catch (const std::runtime_error &) {
        child = co_spawn_with(&options, see_nothing, nullptr);
        CHECK(handled() == "parent");
        CHECK(co_await_task(child) == 7);
        CHECK(handled() == "parent");
    }
    CHECK(handled() == "none");
    return 0;
}

static void spawn_in_callback(void *)
{
    co_spawn_options_t options = {};
    options.eager = true;
    try {
        throw std::runtime_error("callback");
    } catch (const std::runtime_error &) {
        co_task_release(co_spawn_with(&options, see_nothing, nullptr));
        CHECK(handled() == "callback");
    }
}

static void eager_tasks_start_with_nothing()
{
    CHECK(run(spawn_eagerly) == 0);
    loop_t *loop = open_loop();
    CHECK(loop_call_soon(loop, spawn_in_callback, loop, nullptr) == 0);
    CHECK(loop_run(loop) == 0);
    CHECK(loop_close(loop) == 0);
}

static int fail(void *)
{
    return -EIO;
}

// A report is made on the loop's stack, on behalf of a task in a handler.
static int cause_a_report(void *)
{
    co_task_t *child = co_spawn(fail, nullptr);
    CHECK(co_sleep(1) == 0);
    try {
        throw std::runtime_error("reporter");
    } catch (const std::runtime_error &) {
        co_task_release(child); // unread: that is what is reported
        CHECK(handled() == "reporter");
    }
    return 0;
}

static void run_with_a_report()
{
    loop_t *loop = open_loop();
    loop_set_exception_handler(
        loop,
        [](loop_t *, const loop_exception_t *, void *) {
            CHECK(!co_self());
            trace(handled());
        },
        nullptr);
    co_task_t *task = loop_spawn(loop, cause_a_report, nullptr);
    CHECK(loop_run_until(loop, task) == 0);
    CHECK(loop_close(loop) == 0);
}

static void reports_are_made_with_the_exceptions_of_the_main_stack()
{
    run_with_a_report();
    CHECK_TRACE("none");
    try {
        throw std::runtime_error("main");
    } catch (const std::runtime_error &) {
        run_with_a_report();
        CHECK(handled() == "main");
    }
    CHECK_TRACE("main");
}

// --- Across tasks and threads --------------------------------------------------------------------

static int keep_exception(void *arg)
{
    try {
        throw std::runtime_error("carried");
    } catch (...) {
        CHECK(co_yield_now() == 0);
        *static_cast<std::exception_ptr *>(arg) = std::current_exception();
    }
    return 0;
}

static int rethrow_elsewhere(void *)
{
    std::exception_ptr carried;
    CHECK(co_await_task(co_spawn(keep_exception, &carried)) == 0);
    try {
        std::rethrow_exception(carried);
    } catch (const std::runtime_error &e) {
        CHECK(co_yield_now() == 0);
        trace(e.what());
    }
    return 0;
}

static void an_exception_goes_from_task_to_task()
{
    CHECK(run(rethrow_elsewhere) == 0);
    CHECK_TRACE("carried");
}

static thread_local int thrown_here;

static int throw_in_thread(void *)
{
    for (int i = 0; i < 100; i++)
        try {
            throw std::to_string(thrown_here);
        } catch (const std::string &number) {
            CHECK(co_yield_now() == 0);
            CHECK(number == std::to_string(thrown_here++));
            CHECK(co_sleep_ns(100) == 0);
        }
    return 0;
}

static void loops_on_two_threads_do_not_meet()
{
    auto body = [] { CHECK(run(throw_in_thread) == 0); };
    std::thread one(body), two(body);
    one.join();
    two.join();
}

// --- co_throw out of a handler -------------------------------------------------------------------

struct counted {
    static inline int alive = 0;
    counted()
    {
        alive++;
    }
    counted(const counted &)
    {
        alive++;
    }
    ~counted()
    {
        alive--;
    }
};

static int end_in_handler(void *)
{
    try {
        throw counted();
    } catch (const counted &) {
        CHECK(co_yield_now() == 0);
        co_throw(-EPIPE, "out of a handler");
    }
}

static int await_it(void *)
{
    CHECK(co_await_task(co_spawn(end_in_handler, nullptr)) == -EPIPE);
    CHECK(handled() == "none");
    CHECK(counted::alive == 0);
    return 0;
}

static void a_task_ends_by_co_throw_in_a_handler()
{
    CHECK(run(await_it) == 0);
}

static int try_it(void *)
{
    try {
        throw std::runtime_error("around the try");
    } catch (const std::runtime_error &) {
        CHECK(co_try(end_in_handler, nullptr) == -EPIPE);
        CHECK(handled() == "around the try");
    }
    CHECK(counted::alive == 0);
    CHECK(handled() == "none");
    return 0;
}

static void co_try_closes_handlers_beneath_it()
{
    CHECK(run(try_it) == 0);
}

static int throw_at_once(void *)
{
    try {
        throw counted();
    } catch (const counted &) {
        co_throw(-EPIPE, "out of a handler");
    }
}

static void co_try_does_so_outside_coroutines()
{
    CHECK(co_try(throw_at_once, nullptr) == -EPIPE);
    CHECK(handled() == "none");
    CHECK(counted::alive == 0);
}

// --- An exception that nobody catches ------------------------------------------------------------

static int throw_out(void *)
{
    CHECK(co_yield_now() == 0);
    throw std::runtime_error("out of the coroutine");
}

// The search for a handler ends at the coroutine's first frame, and the runtime terminates.
static void an_exception_that_leaves_a_task_terminates()
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        run(throw_out);
        _exit(0);
    }
    close(fds[1]);
    std::string said;
    char part[256];
    for (ssize_t n; (n = read(fds[0], part, sizeof part)) > 0;)
        said.append(part, static_cast<size_t>(n));
    close(fds[0]);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(said.find("out of the coroutine") != std::string::npos);
}

int main()
{
    thrown_and_caught_inside();
    handlers_of_several_tasks_overlap();
    many_tasks_handle_at_once();
    destructors_suspend_during_unwinding();
    a_loop_runs_in_a_handler();
    eager_tasks_start_with_nothing();
    reports_are_made_with_the_exceptions_of_the_main_stack();
    an_exception_goes_from_task_to_task();
    loops_on_two_threads_do_not_meet();
    a_task_ends_by_co_throw_in_a_handler();
    co_try_closes_handlers_beneath_it();
    co_try_does_so_outside_coroutines();
    an_exception_that_leaves_a_task_terminates();
    std::puts("exceptions: ok");
    return 0;
}
