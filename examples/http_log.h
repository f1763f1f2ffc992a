/* http_log.h: lines to stdout that never make the loop wait.
 *
 * If stdout is a pipe whose reader sleeps, a printf sleeps with it, and so would all connections.
 * Lines are kept in memory instead, and a coroutine writes them when stdout takes more. Lines for
 * which there is no room are counted and left out. A log is valid when zeroed. */
#ifndef HTTP_LOG_H
#define HTTP_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum { LOG_SIZE = 256 * 1024 };

struct http_log {
    char data[LOG_SIZE];
    size_t used;
    unsigned long lost; /* lines */
    bool writing, dead; /* dead: stdout is closed, or was stuck for too long */
};

/* Adds one line, newline included. Does not suspend. */
void log_line(struct http_log *log, const char *line, size_t size);
#endif
