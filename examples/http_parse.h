/* http_parse.h: what an HTTP/1 request says, taken apart in place.
 *
 * These functions look at the bytes given and at nothing else: they allocate nothing, keep
 * nothing and never suspend, so that a test or a fuzzer can call them with anything.
 *
 * 1. Every slice of a request points into the bytes that were parsed, and lives as long as they
 *    do.
 * 2. HTTP_HEAD_MAX bytes are a complete head or an error, never "more": a buffer of that size
 *    will do.
 * 3. Whatever a proxy might understand in another way than we do (two lengths, a folded line, a
 *    space before the colon) is refused, as request smuggling lives on such differences. */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_LINE_MAX = 8192, HTTP_HEAD_MAX = 16384 };
enum { HTTP_BODY_UNKNOWN = -1 };

struct http_slice {
    const char *data;
    size_t size;
};

struct http_request {
    struct http_slice line; /* the first line, as much as came: valid even if the rest is wrong */
    struct http_slice method, target;
    int minor;       /* of the version: HTTP/1.minor */
    bool keep_alive; /* what the client wants: from the version and Connection */
    bool expects;    /* Expect is there: the client may hold its body back until we agree */
    int64_t body;    /* bytes that follow the head, or HTTP_BODY_UNKNOWN for a transfer coding */
    struct http_slice range, if_range, if_modified_since; /* data is NULL where there is none */
    bool if_none_match;
    int hosts, lengths; /* how many of these fields came */
};

/* Parses the head of a request at the beginning of data. Returns its length (the body, or the next
 * request, follows); 0 if more bytes are needed; or, negative, the status to refuse it with: -400,
 * -414 (a first line above HTTP_LINE_MAX), -431 (a head above HTTP_HEAD_MAX), -505. */
int http_parse(const char *data, size_t size, struct http_request *request);

/* Turns a request target into a path relative to the folder served: decoded, without leading
 * slashes, terminated; "" is the folder itself. Returns 0 or a status: 400 (not a path, a bad
 * escape, a NUL), 403 (a ".." in it, however it was written), 414 (does not fit). */
int http_decode_path(struct http_slice target, char *path, size_t size);

/* A Range for something of `size` bytes. Returns 206 with *first and *last (inclusive) set; 416
 * if it lies outside; 200 if it is to be ignored: several ranges, another unit, or not a range at
 * all. */
int http_parse_range(struct http_slice range, int64_t size, int64_t *first, int64_t *last);

/* Whether the slice is that text, in upper or lower case. */
bool http_same(struct http_slice slice, const char *text);

/* Digits only, no sign, no space: -1 for anything else. Too large a number gives INT64_MAX. */
int64_t http_number(struct http_slice slice);
#endif
