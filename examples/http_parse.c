/* http_parse.c: see http_parse.h. A head is taken line by line, and each line by cutting its
 * front off. */
#include "http_parse.h"
#include <string.h>
#include <strings.h>

bool http_same(struct http_slice slice, const char *text)
{
    return slice.size == strlen(text) && strncasecmp(slice.data, text, slice.size) == 0;
}

/* The characters of methods and field names; strchr would also find the NUL at the end of its
 * string. */
static bool is_token(struct http_slice slice)
{
    for (size_t i = 0; i < slice.size; i++) {
        unsigned char c = (unsigned char)slice.data[i];
        bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return slice.size > 0;
}

static struct http_slice trim(struct http_slice s)
{
    while (s.size > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s.data++, s.size--;
    while (s.size > 0 && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t'))
        s.size--;
    return s;
}

/* Cuts what stands before the first `mark` off the front; all of it if there is no mark. */
static struct http_slice cut(struct http_slice *rest, char mark)
{
    const char *at = rest->size ? memchr(rest->data, mark, rest->size) : NULL;
    struct http_slice front = {rest->data, at ? (size_t)(at - rest->data) : rest->size};
    size_t taken = front.size + (at != NULL);
    rest->data += taken;
    rest->size -= taken;
    return front;
}

/* A whole line at *offset, without its CR LF (or bare LF); false if its end has not come yet. */
static bool next_line(const char *data, size_t size, size_t *offset, struct http_slice *line)
{
    size_t end = size < HTTP_HEAD_MAX ? size : HTTP_HEAD_MAX;
    const char *at = *offset < end ? memchr(data + *offset, '\n', end - *offset) : NULL;
    if (!at)
        return false;
    line->data = data + *offset;
    line->size = (size_t)(at - line->data);
    *offset += line->size + 1;
    if (line->size > 0 && line->data[line->size - 1] == '\r')
        line->size--;
    return true;
}

int64_t http_number(struct http_slice slice)
{
    int64_t number = 0;
    for (size_t i = 0; i < slice.size; i++) {
        int digit = slice.data[i] - '0';
        if (digit < 0 || digit > 9)
            return -1;
        number = number > (INT64_MAX - digit) / 10 ? INT64_MAX : number * 10 + digit;
    }
    return slice.size > 0 ? number : -1;
}

static int parse_version(struct http_slice version, struct http_request *request)
{
    const char *v = version.data;
    if (version.size != 8 || memcmp(v, "HTTP/", 5) != 0 || v[6] != '.')
        return 400;
    if (v[5] < '0' || v[5] > '9' || v[7] < '0' || v[7] > '9')
        return 400;
    if (v[5] != '1')
        return 505;
    request->minor = v[7] - '0';
    request->keep_alive = request->minor > 0;
    return 0;
}

static int parse_request_line(struct http_slice line, struct http_request *request)
{
    request->method = cut(&line, ' ');
    request->target = cut(&line, ' ');
    if (!is_token(request->method) || request->target.size == 0)
        return 400;
    for (size_t i = 0; i < request->target.size; i++) {
        unsigned char c = (unsigned char)request->target.data[i];
        if (c <= ' ' || c == 127)
            return 400;
    }
    return parse_version(line, request);
}

static void parse_connection(struct http_slice value, struct http_request *request)
{
    while (value.size > 0) {
        struct http_slice option = trim(cut(&value, ','));
        if (http_same(option, "close"))
            request->keep_alive = false;
        else if (http_same(option, "keep-alive") && request->minor == 0)
            request->keep_alive = true;
    }
}

static int parse_length(struct http_slice value, struct http_request *request)
{
    int64_t length = http_number(value);
    if (length < 0 || (request->lengths++ > 0 && length != request->body))
        return 400;
    if (request->body != HTTP_BODY_UNKNOWN)
        request->body = length;
    return 0;
}

static int parse_field(struct http_slice line, struct http_request *request)
{
    struct http_slice value = line, name = cut(&value, ':');
    if (name.size == line.size || !is_token(name))
        return 400;
    value = trim(value);
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return 400;
    }
    if (http_same(name, "Host"))
        request->hosts++;
    else if (http_same(name, "Connection"))
        parse_connection(value, request);
    else if (http_same(name, "Content-Length"))
        return parse_length(value, request);
    else if (http_same(name, "Transfer-Encoding"))
        request->body = HTTP_BODY_UNKNOWN;
    else if (http_same(name, "Expect"))
        request->expects = true;
    else if (http_same(name, "Range"))
        request->range = value;
    else if (http_same(name, "If-Range"))
        request->if_range = value;
    else if (http_same(name, "If-Modified-Since"))
        request->if_modified_since = value;
    else if (http_same(name, "If-None-Match"))
        request->if_none_match = true;
    return 0;
}

/* What can only be said of the whole head. */
static int check(const struct http_request *request)
{
    if (request->hosts > 1 || (request->hosts == 0 && request->minor > 0))
        return 400;
    if (request->body == HTTP_BODY_UNKNOWN && (request->lengths > 0 || request->minor == 0))
        return 400;
    return 0;
}

int http_parse(const char *data, size_t size, struct http_request *request)
{
    struct http_slice line;
    size_t offset = 0;
    int status;

    memset(request, 0, sizeof *request);
    while (offset < size && (data[offset] == '\r' || data[offset] == '\n'))
        offset++; /* some clients send an empty line after a body */
    request->line.data = data + offset;
    request->line.size = size - offset;
    if (!next_line(data, size, &offset, &line)) {
        if (request->line.size > HTTP_LINE_MAX + 1) /* a CR may be the last byte that came */
            return -414;
        return size >= HTTP_HEAD_MAX ? -431 : 0;
    }
    request->line = line;
    if (line.size > HTTP_LINE_MAX)
        return -414;
    status = parse_request_line(line, request);
    while (status == 0 && next_line(data, size, &offset, &line)) {
        if (line.size == 0) {
            status = check(request);
            return status ? -status : (int)offset;
        }
        status = parse_field(line, request);
    }
    return status ? -status : size >= HTTP_HEAD_MAX ? -431 : 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The path of a target: without query, and without the scheme and host that a request to a proxy
 * has. */
static struct http_slice target_path(struct http_slice target)
{
    struct http_slice rest = target;
    if (target.size >= 7 && strncasecmp(target.data, "http://", 7) == 0) {
        rest.data += 7;
        rest.size -= 7;
        while (rest.size > 0 && *rest.data != '/' && *rest.data != '?')
            rest.data++, rest.size--;
    }
    rest = cut(&rest, '?');
    return cut(&rest, '#');
}

/* Whether one of the names between the slashes is "..". */
static bool climbs(const char *path)
{
    for (;; path++) {
        size_t length = strcspn(path, "/");
        if (length == 2 && memcmp(path, "..", 2) == 0)
            return true;
        path += length;
        if (*path == '\0')
            return false;
    }
}

int http_decode_path(struct http_slice target, char *path, size_t size)
{
    struct http_slice raw = target_path(target);
    size_t length = 0;
    if (raw.size > 0 ? raw.data[0] != '/' : raw.data == target.data)
        return 400;
    for (size_t i = 0; i < raw.size; i++) {
        int c = raw.data[i];
        if (c == '%') {
            int high = i + 2 < raw.size ? hex(raw.data[i + 1]) : -1;
            int low = i + 2 < raw.size ? hex(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return 400;
            c = high * 16 + low;
            i += 2;
        }
        if (c == '/' && length == 0)
            continue;
        if (length + 1 >= size)
            return 414;
        path[length++] = (char)c;
    }
    path[length] = '\0';
    return climbs(path) ? 403 : 0;
}

int http_parse_range(struct http_slice range, int64_t size, int64_t *first, int64_t *last)
{
    struct http_slice rest = range, unit = cut(&rest, '='), from = cut(&rest, '-');
    bool dash = rest.data > from.data + from.size;
    int64_t a = http_number(from), b = http_number(rest);

    if (!http_same(unit, "bytes") || !dash || (a < 0 && from.size > 0) || (b < 0 && rest.size > 0))
        return 200;
    if (a < 0 && b < 0)
        return 200;
    if (a < 0) { /* the last b bytes */
        a = b < size ? size - b : 0;
        b = size - 1;
    } else if (b >= 0 && b < a) {
        return 200;
    } else if (b < 0 || b >= size) {
        b = size - 1;
    }
    if (a >= size)
        return 416;
    *first = a;
    *last = b;
    return 206;
}
