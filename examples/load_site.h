/* load_site.h: what load asks for: a folder of files, and a server for it in another process.
 *
 * The files are mapped, so that what comes back can be compared with them. Only load.c includes
 * this: it is the part of that program which is not about clients. */
#ifndef LOAD_SITE_H
#define LOAD_SITE_H

#include <coloop.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 256, MAX_URL = 1000, STOP_MS = 10000 };

struct file {
    char *url;
    const char *data; /* mapped; NULL if it is empty */
    size_t size;
};

struct site {
    const char *httpd, *folder;
    char made[1024]; /* the folder, if it is ours; else "" */
    struct file files[MAX_FILES];
    size_t count;
    pid_t server; /* 0: none */
    int port, server_out; /* where it listens; its stdout */
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int make_file(const char *folder, const char *name, size_t size)
{
    char path[PATH_MAX];
    FILE *file;
    uint32_t random = (uint32_t)size + 1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "w");
    if (!file)
        return -errno;
    for (size_t i = 0; i < size; i++) {
        random = random * 1664525 + 1013904223;
        putc((int)(random >> 24), file);
    }
    return fclose(file) == 0 ? 0 : -errno;
}

/* Makes a folder of files of all sizes, and with names that need care. */
static int make_folder(struct site *site)
{
    static const char *const folders[] = {"docs", "docs/deep", "docs/deep/er"};
    static const struct {
        const char *name;
        size_t size;
    } files[] = {
        {"empty.txt", 0},
        {"note.txt", 1024},
        {"page.html", 12000},
        {"picture.png", 64 * 1024},
        {"film.mp4", 4 << 20},
        {"docs/read me.md", 3000},
        {"docs/deep/a&b<c>%.css", 800},
        {"docs/deep/er/table.csv", 200 * 1024},
    };
    const char *tmp = getenv("TMPDIR");
    int rc = 0;
    snprintf(site->made, sizeof site->made, "%s/coloop-load-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(site->made))
        return -errno;
    site->folder = site->made;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && rc == 0; i++) {
        char name[PATH_MAX];
        snprintf(name, sizeof name, "%s/%s", site->made, folders[i]);
        rc = mkdir(name, 0700) < 0 ? -errno : 0;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc == 0; i++)
        rc = make_file(site->made, files[i].name, files[i].size);
    return rc;
}

typedef void visit_fn(struct site *site, const char *path, const struct stat *st);

/* Calls fn for everything in the folder, and for the folder itself after that. */
static void walk(struct site *site, const char *folder, visit_fn *fn)
{
    struct dirent *entry;
    struct stat st;
    DIR *open_folder = opendir(folder);
    while (open_folder && (entry = readdir(open_folder)) != NULL) {
        char path[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
            lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            walk(site, path, fn);
        else
            fn(site, path, &st);
    }
    if (open_folder)
        closedir(open_folder);
    if (lstat(folder, &st) == 0)
        fn(site, folder, &st);
}

static char *make_url(const char *path)
{
    char *url = malloc(3 * strlen(path) + 1), *to = url;
    for (; url && *path; path++) {
        if (strchr("/.-_", *path) || (*path >= '0' && *path <= '9') ||
            ((*path | 32) >= 'a' && (*path | 32) <= 'z'))
            *to++ = *path;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*path);
    }
    if (url)
        *to = '\0';
    return url;
}

/* Maps a file, so that what the server sends can be compared with it. */
static void add_file(struct site *site, const char *path, const struct stat *st)
{
    struct file *file = &site->files[site->count];
    int fd;
    if (!S_ISREG(st->st_mode) || site->count == MAX_FILES || (fd = open(path, O_RDONLY)) < 0)
        return;
    file->size = (size_t)st->st_size;
    file->data = file->size ? mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
    close(fd);
    file->url = file->data == MAP_FAILED ? NULL : make_url(path + strlen(site->folder));
    if (file->url && strlen(file->url) <= MAX_URL)
        site->count++;
}

/* Makes the folder, if none was given, and looks what is in it. */
static int site_prepare(struct site *site)
{
    int rc = site->folder ? 0 : make_folder(site);
    if (rc == 0)
        walk(site, site->folder, add_file);
    return rc < 0 ? rc : site->count > 0 ? 0 : -ENOENT;
}

static void remove_visited(struct site *site, const char *path, const struct stat *st)
{
    (void)site, (void)st;
    if (remove(path) < 0)
        perror(path);
}

static void site_remove(struct site *site)
{
    for (size_t i = 0; i < site->count; i++)
        free(site->files[i].url);
    if (*site->made)
        walk(site, site->made, remove_visited);
}

/* Reads the server's first line, "listening on http://127.0.0.1:PORT/". */
static int read_port(struct site *site)
{
    char line[128];
    size_t used = 0;
    co_timeout(STOP_MS) {
        while (used < sizeof line - 1 && !memchr(line, '\n', used)) {
            ssize_t n = co_read(site->server_out, line + used, sizeof line - 1 - used);
            if (n <= 0)
                return co_fail(n < 0 ? (int)n : -EPIPE, "%s does not say its port", site->httpd);
            used += (size_t)n;
        }
    }
    line[used] = '\0';
    if (sscanf(line, "listening on http://127.0.0.1:%d/", &site->port) != 1)
        return co_fail(-EPROTO, "%s says: %s", site->httpd, line);
    printf("%s: %s", site->httpd, line);
    return 0;
}

static int site_start(struct site *site)
{
    char *const args[] = {(char *)site->httpd, "-q", "-p", "0", (char *)site->folder, NULL};
    extern char **environ;
    posix_spawn_file_actions_t actions;
    int ends[2], rc;
    if (pipe(ends) < 0) /* not pipe2, which macOS does not have */
        return co_fail(-errno, "no pipe");
    for (int i = 0; i < 2; i++)
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    rc = posix_spawn(&site->server, site->httpd, &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    site->server_out = ends[0];
    if (rc) {
        site->server = 0;
        return co_fail(rc, "cannot start %s", site->httpd);
    }
    return read_port(site);
}

/* The end of its stdout tells that the server is gone, so that the wait for it does not block. */
static int site_stop(struct site *site)
{
    int64_t start = now_ns();
    char rest[256];
    ssize_t n = 1;
    int status = 0;
    if (site->server == 0)
        return 0;
    kill(site->server, SIGTERM);
    co_timeout(STOP_MS) {
        while (n > 0)
            n = co_read(site->server_out, rest, sizeof rest);
    }
    co_close(site->server_out);
    if (n < 0)
        kill(site->server, SIGKILL);
    waitpid(site->server, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return co_fail(-EPROTO, "the server did not stop as it should, wait status %#x", status);
    printf("the server stopped %.0f ms after SIGTERM, with status 0\n",
           (double)(now_ns() - start) / 1e6);
    return 0;
}
#endif
