/* http_response.c: see http_response.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "http_response.h"
#include "http_folder.h"
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL_FILE = 32 * 1024 }; /* up to here one writev of head and content beats sendfile */

static const char index_name[] = "index.html";

void response_set_status(struct http_response *response, int status)
{
    if (response->file >= 0)
        close(response->file);
    response->file = -1;
    response->status = status;
    response->type = "text/plain; charset=utf-8";
    response->body.size = 0;
    if (status != 304)
        text_printf(&response->body, "%d %s\n", status, http_reason(status));
    response->length = (int64_t)response->body.size;
}

static bool is_method(const struct http_request *request, const char *name)
{
    return request->method.size == strlen(name) &&
           memcmp(request->method.data, name, request->method.size) == 0;
}

static bool is_unmodified(const struct http_request *request, time_t modified)
{
    struct http_slice date = request->if_modified_since;
    return date.data && !request->if_none_match &&
           http_parse_date(date.data, date.size) >= modified;
}

/* A range of another version of the file is of no use: If-Range says which one the client has. */
static bool wants_range(const struct http_request *request, time_t modified)
{
    char date[HTTP_DATE_SIZE];
    http_date(modified, date);
    return request->range.data && is_method(request, "GET") &&
           (!request->if_range.data || http_same(request->if_range, date));
}

/* Reads the file into memory, to leave together with the head. */
static void read_small(struct http_response *response)
{
    size_t size = (size_t)response->length;
    char *room = text_room(&response->body, size + 1); /* + 1: never NULL for an empty file */
    ssize_t n = room ? pread(response->file, room, size, response->offset) : -1;
    if (n != response->length) { /* also if it has shrunk since fstat */
        response->keep = false;
        response_set_status(response, 500);
        return;
    }
    response->body.size = size;
    close(response->file);
    response->file = -1;
}

static void answer_file(struct http_response *response, const struct http_request *request,
                        const char *path, const struct stat *st)
{
    int64_t first = 0, last = st->st_size - 1;
    response->type = http_type(path);
    response->modified = st->st_mtime;
    response->total = st->st_size;
    if (is_unmodified(request, st->st_mtime)) {
        response_set_status(response, 304);
        return;
    }
    if (wants_range(request, st->st_mtime))
        response->status = http_parse_range(request->range, st->st_size, &first, &last);
    if (response->status == 416) {
        response_set_status(response, 416);
        return;
    }
    response->offset = first;
    response->length = last - first + 1;
    if (response->with_body && response->length <= SMALL_FILE)
        read_small(response);
}

/* Gives the response an open file in place of the one it had. False: it says why not. */
static bool take_file(struct http_response *response, int fd, struct stat *st)
{
    if (response->file >= 0)
        close(response->file);
    response->file = fd;
    if (fd < 0)
        response_set_status(response, folder_status(fd));
    else if (fstat(fd, st) < 0)
        response_set_status(response, 500);
    else if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        response_set_status(response, 403);
    return response->file >= 0;
}

static void answer_listing(const char *path, struct http_response *response)
{
    int rc = folder_list(response->file, path, &response->body);
    response->file = -1;
    response->type = "text/html; charset=utf-8";
    response->length = (int64_t)response->body.size;
    if (rc < 0)
        response_set_status(response, folder_status(rc));
}

/* A page's links are relative to its path, so that a folder's must end with a slash. */
static void redirect_to_folder(const char *path, struct http_response *response)
{
    text_add(&response->location, "/", 1);
    text_add_encoded(&response->location, path);
    text_add(&response->location, "/", 1);
    response_set_status(response, 301);
}

/* A folder is its index.html, or else a listing. `path` has room for that name. */
static void answer_folder(struct http_response *response, int folder, char *path, struct stat *st)
{
    size_t length = strlen(path);
    int fd;
    if (length > 0 && path[length - 1] != '/') {
        redirect_to_folder(path, response);
        return;
    }
    memcpy(path + length, index_name, sizeof index_name);
    fd = folder_open(folder, path);
    if (fd == -ENOENT) {
        path[length] = '\0';
        answer_listing(path, response);
    } else if (take_file(response, fd, st) && S_ISDIR(st->st_mode)) {
        response_set_status(response, 403);
    }
}

void response_answer(struct http_response *response, int folder,
                     const struct http_request *request)
{
    const size_t most = PATH_MAX - sizeof index_name;
    size_t room = request->target.size < most ? request->target.size + 1 : most;
    char path[room + sizeof index_name]; /* no longer than it takes: stack is memory */
    struct stat st;
    int status = http_decode_path(request->target, path, room);

    response->status = 200;
    response->with_body = !is_method(request, "HEAD");
    if (response->with_body && !is_method(request, "GET"))
        status = 405;
    if (status) {
        response_set_status(response, status);
        return;
    }
    if (take_file(response, folder_open(folder, path), &st) && S_ISDIR(st.st_mode))
        answer_folder(response, folder, path, &st);
    if (response->file >= 0)
        answer_file(response, request, path, &st);
}

/* "Name: value\r\n". printf would take longer than all the rest of a small response. */
static void add_field(struct text *head, const char *name, const char *value)
{
    text_add_string(head, name);
    text_add(head, ": ", 2);
    text_add_string(head, value);
    text_add(head, "\r\n", 2);
}

void response_write_head(const struct http_response *response, struct text *head)
{
    char date[HTTP_DATE_SIZE];
    head->size = 0;
    text_add_string(head, "HTTP/1.1 ");
    text_add_number(head, response->status);
    text_add(head, " ", 1);
    text_add_string(head, http_reason(response->status));
    text_add(head, "\r\n", 2);
    http_date(time(NULL), date);
    add_field(head, "Date", date);
    add_field(head, "Connection", response->keep ? "keep-alive" : "close");
    if (response->status != 304) {
        add_field(head, "Content-Type", response->type);
        text_add_string(head, "Content-Length: ");
        text_add_number(head, response->length);
        text_add(head, "\r\n", 2);
    }
    if (response->modified) {
        http_date(response->modified, date);
        add_field(head, "Last-Modified", date);
        add_field(head, "Accept-Ranges", "bytes");
    }
    if (response->status == 206)
        text_printf(head, "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)response->offset,
                    (long long)(response->offset + response->length - 1),
                    (long long)response->total);
    if (response->status == 416)
        text_printf(head, "Content-Range: bytes */%lld\r\n", (long long)response->total);
    if (response->status == 405)
        add_field(head, "Allow", "GET, HEAD");
    if (response->status == 503)
        add_field(head, "Retry-After", "1");
    if (response->location.size > 0)
        text_printf(head, "Location: %.*s\r\n", (int)response->location.size,
                    response->location.data);
    text_add(head, "\r\n", 2);
}

void response_free(struct http_response *response)
{
    if (response->file >= 0)
        close(response->file);
    text_free(&response->body);
    text_free(&response->location);
}
