/* http_text.h: text that grows, and what an HTTP server writes into it.
 *
 * A text is valid when zeroed. When memory runs out it notes that in `failed` and ignores the
 * rest, so that only its final user has to look. Nothing here suspends. */
#ifndef HTTP_TEXT_H
#define HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct text {
    char *data;
    size_t size, capacity;
    bool failed;
};

void text_add(struct text *text, const char *data, size_t size);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, int64_t number); /* not negative */
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *text);

/* Makes room for `more` bytes after the text and returns where they go; NULL without memory. */
char *text_room(struct text *text, size_t more);

/* For HTML, between tags and in attributes. */
void text_add_escaped(struct text *text, const char *from);

/* For URLs: everything but what never needs it becomes %XX; slashes stay. A colon is written as
 * %3A, so that no name can pass for a scheme. */
void text_add_encoded(struct text *text, const char *from);

/* For a log: quotes, backslashes and what is not printable become \xXX, so that no request can
 * forge a line of it or move the cursor of who reads it. */
void text_add_quoted(struct text *text, const char *from, size_t size);

/* The last dates asked for are remembered: it is for one thread. */
enum { HTTP_DATE_SIZE = 30 };
void http_date(time_t when, char date[HTTP_DATE_SIZE]);
time_t http_parse_date(const char *data, size_t size); /* -1 if it is none */

/* The words for a status, and the media type of a file by the ending of its name. */
const char *http_reason(int status);
const char *http_type(const char *path);
#endif
