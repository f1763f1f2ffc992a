/* callbacks_to_await: an interface that answers by callback, wrapped so that a coroutine awaits it.
 *
 * The service below knows nothing of coroutines: it takes a question, a function and a pointer, and
 * calls the function some time later. A future is all that is needed in between, and every client
 * of the wrapper gets deadlines and cancellation with it. It prints:
 *
 *     6 * 7 is 42
 *     1 / 0: Numerical argument out of domain
 *     too slow: Connection timed out */
#include <coloop.h>
#include <stdio.h>
#include <string.h>

/* --- A callback interface --- */

typedef void answer_fn(int error, int answer, void *arg);
struct question {
    loop_handle_t timer;
    char operation;
    int a, b;
    answer_fn *fn;
    void *arg;
};

static void answer(void *arg)
{
    struct question *q = arg;
    bool bad = q->operation == '/' && q->b == 0;
    q->fn(bad ? EDOM : 0, bad ? 0 : q->operation == '/' ? q->a / q->b : q->a * q->b, q->arg);
}

static void service_ask(struct question *q, int64_t delay_ms, answer_fn *fn, void *arg)
{
    q->fn = fn;
    q->arg = arg;
    loop_call_later(loop_current(), delay_ms, answer, q, &q->timer);
}

static void service_forget(struct question *q)
{
    loop_cancel(&q->timer);
}

/* --- The same as a call that waits --- */

struct reply {
    co_future_t future;
    int answer;
};

static void on_answer(int error, int value, void *arg)
{
    struct reply *reply = arg;
    reply->answer = value;
    co_future_resolve(&reply->future, -error, NULL);
}

static int ask(char operation, int a, int b, int64_t delay_ms, int *value)
{
    struct question q = {.operation = operation, .a = a, .b = b};
    struct reply reply = {0};
    service_ask(&q, delay_ms, on_answer, &reply);
    int rc = co_await_future(&reply.future, NULL);
    service_forget(&q); /* if we did not wait to the end: q and reply are about to go */
    *value = reply.answer;
    return rc;
}

static int show(void *arg)
{
    int value = 0, rc = ask('*', 6, 7, 10, &value);
    (void)arg;
    if (rc == 0)
        printf("6 * 7 is %d\n", value);
    rc = ask('/', 1, 0, 10, &value);
    printf("1 / 0: %s\n", strerror(-rc));
    co_timeout(20) rc = ask('*', 2, 2, 10000, &value);
    printf("too slow: %s\n", strerror(-rc));
    return 0;
}

int main(void)
{
    return co_run(show, NULL) != 0;
}
