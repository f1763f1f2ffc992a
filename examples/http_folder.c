/* http_folder.c: see http_folder.h.
 *
 * The kernel can resolve a path with the folder's bounds in mind (openat2, Linux 5.6): symbolic
 * links may then lead anywhere inside. Where it cannot, the path is walked name by name, and no
 * symbolic link is followed at all. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "http_folder.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/sendfile.h>
#include <sys/syscall.h>
#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif
#endif

/* O_NONBLOCK: to open a FIFO would otherwise wait for its writer. */
enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };
#ifdef O_PATH
enum { PASS_FLAGS = O_PATH }; /* a folder may be passed through without the right to list it */
#else
enum { PASS_FLAGS = O_RDONLY };
#endif

/* openat2, if there is one; -ENOSYS if not, and -EPERM where a sandbox forbids what it does not
 * know. */
static int open_beneath(int folder, const char *path)
{
#if defined SYS_openat2 && defined RESOLVE_BENEATH
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;
    errno = EAGAIN; /* what openat2 says when a rename elsewhere made a ".." uncertain */
    for (int attempt = 0; fd < 0 && errno == EAGAIN && attempt < 8; attempt++)
        fd = syscall(SYS_openat2, folder, path, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
#else
    (void)folder, (void)path;
    return -ENOSYS;
#endif
}

/* Opens the first name of *path in `at` and moves *path behind it. */
static int step(int at, const char **path)
{
    char name[NAME_MAX + 1];
    size_t length = strcspn(*path, "/"), slashes = strspn(*path + length, "/");
    bool last = (*path)[length + slashes] == '\0';
    int flags = O_NOFOLLOW | (last ? OPEN_FLAGS : PASS_FLAGS | O_CLOEXEC), fd;

    if (length >= sizeof name)
        return -ENAMETOOLONG;
    memcpy(name, *path, length);
    name[length] = '\0';
    if (strcmp(name, "..") == 0)
        return -EXDEV;
    *path += length + slashes;
    fd = openat(at, length ? name : ".", flags | (slashes ? O_DIRECTORY : 0));
    return fd < 0 ? -errno : fd;
}

static int walk(int folder, const char *path)
{
    int at = folder, next;
    do {
        next = step(at, &path);
        if (at != folder)
            close(at);
        at = next;
    } while (at >= 0 && *path);
    return at;
}

int folder_open(int folder, const char *path)
{
    int fd = open_beneath(folder, *path ? path : ".");
    return fd == -ENOSYS || fd == -EPERM ? walk(folder, path) : fd;
}

int folder_status(int error)
{
    switch (error) {
    case -ENOENT: case -ENOTDIR: case -ENAMETOOLONG:
        return 404;
    case -EACCES: case -EPERM: case -ELOOP: case -EXDEV: case -ENXIO: case -ENODEV:
        return 403;
    case -EMFILE: case -ENFILE: case -ENOMEM: case -EAGAIN:
        return 503;
    default:
        return 500;
    }
}

ssize_t folder_send(int socket, int file, off_t *offset, size_t size)
{
    ssize_t n;
#ifdef __linux__
    n = sendfile(socket, file, offset, size);
#elif defined __APPLE__
    off_t sent = (off_t)size; /* afterwards, what was sent, also if it ended in an error */
    n = sendfile(file, socket, *offset, &sent, NULL, 0);
    *offset += sent;
    n = sent ? (ssize_t)sent : n;
#elif defined __FreeBSD__
    off_t sent = 0;
    n = sendfile(file, socket, *offset, size, NULL, &sent, 0);
    *offset += sent;
    n = sent ? (ssize_t)sent : n;
#else
    char data[16 * 1024];
    n = pread(file, data, size < sizeof data ? size : sizeof data, *offset);
    if (n > 0)
        n = send(socket, data, (size_t)n, 0);
    if (n > 0)
        *offset += n;
#endif
    return n < 0 ? errno == EINTR ? -EAGAIN : -errno : n;
}

/* A name of the folder as the listing shows it, a folder's with a slash; to be freed. */
static char *make_name(DIR *folder, const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    char *name = malloc(length + 2);
    struct stat st;
    if (!name)
        return NULL;
    memcpy(name, entry->d_name, length + 1);
    if (entry->d_type == DT_DIR ||
        ((entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) &&
         fstatat(dirfd(folder), name, &st, 0) == 0 && S_ISDIR(st.st_mode)))
        memcpy(name + length, "/", 2);
    return name;
}

struct names {
    char **all;
    size_t count, capacity;
};

static int add_name(struct names *names, char *name)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        char **all = realloc(names->all, capacity * sizeof *all);
        if (!all)
            return -ENOMEM;
        names->all = all;
        names->capacity = capacity;
    }
    names->all[names->count++] = name;
    return 0;
}

static int read_names(DIR *folder, struct names *names)
{
    for (;;) {
        struct dirent *entry = (errno = 0, readdir(folder));
        char *name;
        if (!entry)
            return -errno;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        name = make_name(folder, entry);
        if (!name || add_name(names, name) < 0) {
            free(name);
            return -ENOMEM;
        }
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_page(struct text *page, const char *path, const struct names *names)
{
    text_printf(page, "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>/");
    text_add_escaped(page, path);
    text_printf(page, "</title>\n<h1>/");
    text_add_escaped(page, path);
    text_printf(page, "</h1>\n<ul>\n");
    if (*path)
        text_printf(page, "<li><a href=\"../\">../</a>\n");
    for (size_t i = 0; i < names->count; i++) {
        text_printf(page, "<li><a href=\"");
        text_add_encoded(page, names->all[i]);
        text_printf(page, "\">");
        text_add_escaped(page, names->all[i]);
        text_printf(page, "</a>\n");
    }
    text_printf(page, "</ul>\n");
}

int folder_list(int fd, const char *path, struct text *page)
{
    struct names names = {0};
    DIR *folder = fdopendir(fd);
    int rc = -errno;
    if (!folder) {
        close(fd);
        return rc;
    }
    rc = read_names(folder, &names);
    if (rc == 0) {
        qsort(names.all, names.count, sizeof *names.all, compare);
        print_page(page, path, &names);
        rc = page->failed ? -ENOMEM : 0;
    }
    while (names.count > 0)
        free(names.all[--names.count]);
    free(names.all);
    closedir(folder);
    return rc;
}
