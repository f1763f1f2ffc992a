/* net.c: sockets by address. */
#include "io/core.h"

#include <coloop/net.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

/* --- TCP -------------------------------------------------------------------------------------- */

/* A numeric address as a socket address; its length, or -EINVAL. */
static int parse(const char *host, int port, union address *address)
{
    memset(address, 0, sizeof *address);
    if (port < 0 || port > 65535 || !host)
        return -EINVAL;
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        return sizeof address->v4;
    }
    if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) != 1)
        return -EINVAL;
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    return sizeof address->v6;
}

static int bind_and_listen(int fd, const union address *address, socklen_t length, int backlog)
{
    if (bind(fd, &address->any, length) < 0 || listen(fd, backlog > 0 ? backlog : SOMAXCONN) < 0)
        return -errno;
    return 0;
}

static int listen_at(const char *host, int port, int backlog, bool both)
{
    union address address;
    int length = parse(host, port, &address),
        fd = length < 0 ? length : co__io_socket(address.any.sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    int rc = both ? set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) : 0;
    if (rc == 0)
        rc = bind_and_listen(fd, &address, (socklen_t)length, backlog);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return co__io_adopt_new(fd, FD_SOCKET);
}

int co_tcp_listen(const char *host, int port, int backlog)
{
    if (host)
        return listen_at(host, port, backlog, false);
    int fd = listen_at("::", port, backlog, true);
    return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? listen_at("0.0.0.0", port, backlog, false)
                                                       : fd;
}

int co_port(int fd)
{
    union address address;
    socklen_t length = sizeof address;
    if (getsockname(fd, &address.any, &length) < 0)
        return -errno;
    switch (address.any.sa_family) {
    case AF_INET:
        return ntohs(address.v4.sin_port);
    case AF_INET6:
        return ntohs(address.v6.sin6_port);
    default:
        return -ENOTSUP;
    }
}

/* Connects a new socket, which is closed if that fails. */
static int connect_new(int family, bool tcp, const union address *address, socklen_t length,
                       const char *where)
{
    int fd = co__io_socket(family, SOCK_STREAM);
    if (fd < 0 || (fd = co__io_adopt_new(fd, tcp ? FD_TCP : FD_SOCKET)) < 0)
        return fd;
    if (tcp)
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    int rc = co_connect_here(fd, &address->any, length, where);
    if (rc < 0)
        co_close(fd);
    return rc < 0 ? rc : fd;
}

int co_tcp_connect_here(const char *host, int port, const char *where)
{
    union address address;
    int length = parse(host, port, &address);
    return length < 0
               ? length
               : connect_new(address.any.sa_family, true, &address, (socklen_t)length, where);
}

/* --- UNIX ------------------------------------------------------------------------------------- */

static int parse_path(const char *path, union address *address)
{
    memset(address, 0, sizeof *address);
    size_t length = path ? strlen(path) : 0;
    if (length == 0)
        return -EINVAL;
    if (length >= sizeof address->local.sun_path)
        return -ENAMETOOLONG;
    address->local.sun_family = AF_UNIX;
    memcpy(address->local.sun_path, path, length);
    bool abstract = path[0] == '@';
    if (abstract)
        address->local.sun_path[0] = '\0';
    return (int)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
}

/* A socket file that is left over from a server which is gone refuses connections. */
static bool is_left_over(const union address *address, socklen_t length)
{
    struct stat st;
    const char *path = address->local.sun_path;
    if (!*path || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = co__io_socket(AF_UNIX, SOCK_STREAM);
    bool refused = fd >= 0 && connect(fd, &address->any, length) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

int co_unix_listen(const char *path)
{
    union address address;
    int length = parse_path(path, &address),
        fd = length < 0 ? length : co__io_socket(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int rc = bind_and_listen(fd, &address, (socklen_t)length, 0);
    if (rc == -EADDRINUSE && is_left_over(&address, (socklen_t)length)) {
        unlink(path);
        rc = bind_and_listen(fd, &address, (socklen_t)length, 0);
    }
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return co__io_adopt_new(fd, FD_SOCKET);
}

int co_unix_connect_here(const char *path, const char *where)
{
    union address address;
    int length = parse_path(path, &address);
    return length < 0 ? length : connect_new(AF_UNIX, false, &address, (socklen_t)length, where);
}
