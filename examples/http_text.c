/* http_text.c: see http_text.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "http_text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *text_room(struct text *text, size_t more)
{
    size_t need = text->size + more;
    if (need > text->capacity && !text->failed) {
        size_t capacity = need + need / 2 + 256;
        char *data = realloc(text->data, capacity);
        if (data) {
            text->data = data;
            text->capacity = capacity;
        }
        text->failed = !data;
    }
    return text->failed ? NULL : text->data + text->size;
}

void text_free(struct text *text)
{
    free(text->data);
    memset(text, 0, sizeof *text);
}

void text_add(struct text *text, const char *data, size_t size)
{
    char *room = text_room(text, size);
    if (room && size > 0) {
        memcpy(room, data, size);
        text->size += size;
    }
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_number(struct text *text, int64_t number)
{
    char digits[20], *first = digits + sizeof digits;
    do
        *--first = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    text_add(text, first, (size_t)(digits + sizeof digits - first));
}

void text_printf(struct text *text, const char *format, ...)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t space = text->failed ? 0 : text->capacity - text->size;
        va_list args;
        int length;
        va_start(args, format);
        length = vsnprintf(space ? text->data + text->size : NULL, space, format, args);
        va_end(args);
        if (length >= 0 && (size_t)length < space) {
            text->size += (size_t)length;
            return;
        }
        if (length < 0 || !text_room(text, (size_t)length + 1))
            return;
    }
}

void text_add_escaped(struct text *text, const char *from)
{
    for (; *from; from++) {
        switch (*from) {
        case '&': text_add(text, "&amp;", 5); break;
        case '<': text_add(text, "&lt;", 4); break;
        case '>': text_add(text, "&gt;", 4); break;
        case '"': text_add(text, "&quot;", 6); break;
        case '\'': text_add(text, "&#39;", 5); break;
        default: text_add(text, from, 1);
        }
    }
}

void text_add_encoded(struct text *text, const char *from)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789-._~/";
    for (; *from; from++) {
        if (strchr(plain, *from))
            text_add(text, from, 1);
        else
            text_printf(text, "%%%02X", (unsigned char)*from);
    }
}

void text_add_quoted(struct text *text, const char *from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)from[i];
        if (c < ' ' || c >= 127 || c == '"' || c == '\\')
            text_printf(text, "\\x%02x", c);
        else
            text_add(text, from + i, 1);
    }
}

void http_date(time_t when, char date[HTTP_DATE_SIZE])
{
    static struct {
        time_t when;
        char date[HTTP_DATE_SIZE];
    } memory[64];
    size_t i = (size_t)when % 64;
    struct tm tm;
    if (memory[i].when != when || !memory[i].date[0]) {
        memory[i].when = when;
        memory[i].date[0] = '\0';
        if (gmtime_r(&when, &tm))
            strftime(memory[i].date, HTTP_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    memcpy(date, memory[i].date, HTTP_DATE_SIZE);
}

time_t http_parse_date(const char *data, size_t size)
{
    char date[HTTP_DATE_SIZE];
    const char *end;
    struct tm tm;
    if (size >= sizeof date)
        return -1;
    memcpy(date, data, size);
    date[size] = '\0';
    memset(&tm, 0, sizeof tm);
    end = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return end && *end == '\0' ? timegm(&tm) : -1;
}

const char *http_reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

const char *http_type(const char *path)
{
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"},  {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},    {"js", "text/javascript; charset=utf-8"},
        {"txt", "text/plain; charset=utf-8"},  {"md", "text/markdown; charset=utf-8"},
        {"c", "text/plain; charset=utf-8"},    {"h", "text/plain; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},    {"json", "application/json"},
        {"xml", "application/xml"},            {"pdf", "application/pdf"},
        {"wasm", "application/wasm"},          {"zip", "application/zip"},
        {"gz", "application/gzip"},            {"svg", "image/svg+xml"},
        {"png", "image/png"},                  {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},                {"gif", "image/gif"},
        {"webp", "image/webp"},                {"ico", "image/vnd.microsoft.icon"},
        {"mp3", "audio/mpeg"},                 {"mp4", "video/mp4"},
        {"webm", "video/webm"},                {"woff2", "font/woff2"},
    };
    const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(dot + 1, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}
