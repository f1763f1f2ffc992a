/* http_response.h: what an HTTP server says to a request: the status, the head, and which bytes
 * follow. It knows files and not sockets. Nothing here suspends. */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "http_parse.h"
#include "http_text.h"

struct http_response {
    int status;
    bool keep;              /* the connection, for another request */
    bool with_body;         /* not for HEAD, whose head is that of a GET */
    const char *type;
    struct text body;       /* the body is this, */
    int file;               /* or of this file (-1: none) */
    int64_t offset, length; /* this part */
    int64_t total;          /* size of the whole file, for Content-Range */
    time_t modified;        /* 0: not a file */
    struct text location;   /* of a redirection */
};

/* Finds the answer to a request for something in the folder (a fd), in a response that is zeroed
 * but for `keep` and `file`, -1. */
void response_answer(struct http_response *response, int folder,
                     const struct http_request *request);

/* Makes the response one that only says its status. */
void response_set_status(struct http_response *response, int status);

/* Writes the head. */
void response_write_head(const struct http_response *response, struct text *head);

void response_free(struct http_response *response);
#endif
