/* co_serve when there is no memory for a deadline: it does not go round and round, and it ends. */
#include "support.h"

#include <stdio.h>

static struct {
    char path[64];
    int listener, begun, ended;
    bool shielded;
    co_serve_options_t options;
} site;

static int sleep_for_10_ms(int fd, void *arg)
{
    int rc = 1;
    (void)fd, (void)arg;
    site.begun++;
    if (site.shielded)
        co_shield() rc = co_sleep(10);
    else
        rc = co_sleep(10);
    trace("%d", rc);
    site.ended++;
    return rc;
}

static int serve(void *arg)
{
    (void)arg;
    return co_serve(site.listener, sleep_for_10_ms, NULL, &site.options);
}

static co_task_t *open_site(co_serve_options_t options)
{
    static int number;
    site.begun = site.ended = 0;
    site.options = options;
    snprintf(site.path, sizeof site.path, "@coloop-memory-%d-%d", (int)getpid(), number++);
    site.listener = co_unix_listen(site.path);
    CHECK(site.listener >= 0);
    return co_spawn(serve, NULL);
}

/* Calls that take up the room there is for timers; no more can be set until they are taken back. */
static loop_handle_t calls[4096];

static void do_nothing(void *arg)
{
    (void)arg;
}

static void use_up_memory(void)
{
    size_t n = 0, most = sizeof calls / sizeof *calls;
    memset(calls, 0, sizeof calls);
    fail_allocation(1, true);
    while (n < most && loop_call_later(loop_current(), 60000, do_nothing, NULL, &calls[n]) == 0)
        n++;
    CHECK(n < most);
}

static void free_memory(void)
{
    fail_allocation(0, false);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        loop_cancel(&calls[i]);
}

static int cancel_without_memory(void *arg)
{
    co_task_t *server = open_site(*(co_serve_options_t *)arg);
    int fd = co_unix_connect(site.path);
    CHECK(fd >= 0);
    CHECK_INT(co_sleep(1), 0);
    CHECK_INT(site.begun, 1);
    use_up_memory();
    co_task_cancel(server);
    int rc = co_await_task(server);
    free_memory();
    CHECK_INT(site.ended, 1);
    trace("%d ms", (int)(loop_time(loop_current()) / MS));
    co_close(fd);
    co_close(site.listener);
    return rc;
}

static void without_memory_for_its_deadline_there_is_no_grace(void **state)
{
    (void)state;
    co_serve_options_t options = {.grace_ms = 50};
    site.shielded = false;
    assert_int_equal(run_task(cancel_without_memory, &options), -ECANCELED);
    assert_string_equal(traced(), "-125 1 ms");
    site.shielded = true; /* it is waited for all the same */
    assert_int_equal(run_task(cancel_without_memory, &options), -ECANCELED);
    assert_string_equal(traced(), "0 10 ms");
}

static void a_grace_without_end_needs_no_memory(void **state)
{
    (void)state;
    co_serve_options_t options = {.grace_ms = -1};
    site.shielded = false;
    assert_int_equal(run_task(cancel_without_memory, &options), -ECANCELED);
    assert_string_equal(traced(), "0 10 ms");
}

static int serve_in_a_scope(void *arg)
{
    int rc = 1;
    co_task_t *server = open_site((co_serve_options_t){0});
    (void)arg;
    co_task_cancel(server);
    CHECK_INT(co_await_task(server), -ECANCELED);
    fail_allocation(1, true);
    co_timeout(30) rc = serve(NULL);
    fail_allocation(0, false);
    co_close(site.listener);
    return rc;
}

static void without_memory_for_the_callers_deadline_it_says_so(void **state)
{
    (void)state;
    assert_int_equal(run_task(serve_in_a_scope, NULL), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_for_its_deadline_there_is_no_grace),
        cmocka_unit_test(a_grace_without_end_needs_no_memory),
        cmocka_unit_test(without_memory_for_the_callers_deadline_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
