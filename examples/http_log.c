/* http_log.c: see http_log.h. The writer lives only while there are lines: the first one starts
 * it, and it ends after the last, so that a server that is told to stop need not tell it. */
#include "http_log.h"
#include <coloop.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

/* A pipe that is writable takes PIPE_BUF bytes without waiting, so one piece has no more. */
static ssize_t write_piece(const struct http_log *log, size_t at)
{
    size_t size = log->used - at < PIPE_BUF ? log->used - at : PIPE_BUF;
    int ready = -ECANCELED;
    ssize_t n;
    co_timeout(PATIENCE_MS) ready = co_await_fd(STDOUT_FILENO, CO_WRITE);
    if (ready < 0)
        return ready;
    n = write(STDOUT_FILENO, log->data + at, size);
    return n >= 0 ? n : errno == EINTR || errno == EAGAIN ? 0 : -errno;
}

static int write_lines(void *arg)
{
    struct http_log *log = arg;
    size_t at = 0;
    while (at < log->used) {
        ssize_t n = write_piece(log, at);
        if (n < 0) {
            log->dead = true;
            break;
        }
        at += (size_t)n;
        if (at >= LOG_SIZE / 2) { /* make room while lines go on coming */
            memmove(log->data, log->data + at, log->used - at);
            log->used -= at;
            at = 0;
        }
    }
    log->used = 0;
    log->writing = false;
    return 0;
}

void log_line(struct http_log *log, const char *line, size_t size)
{
    char note[64] = "";
    size_t noted = 0;
    if (log->lost > 0)
        noted = (size_t)snprintf(note, sizeof note, "(%lu lines left out)\n", log->lost);
    if (log->dead || size + noted > sizeof log->data - log->used) {
        log->lost++;
        return;
    }
    memcpy(log->data + log->used, note, noted);
    memcpy(log->data + log->used + noted, line, size);
    log->used += size + noted;
    log->lost = 0;
    if (!log->writing)
        log->writing = co_go(write_lines, log) == 0;
}
