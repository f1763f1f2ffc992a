/* net.h: sockets by address, and servers. Fds made here are the loop's own (io.h), closed with
 * co_close. */
#ifndef COLOOP_NET_H
#define COLOOP_NET_H

#include <coloop/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A listening TCP socket. host is a numeric IPv4 or IPv6 address, or NULL for all addresses of the
 * machine (IPv6 and IPv4 where there is IPv6); port 0 lets the system choose, see co_port. backlog
 * 0 or less = as long as the system allows. The address may be reused at once (SO_REUSEADDR). Does
 * not suspend. Returns the fd or a negative errno: -EINVAL for a host that is not numeric or a port
 * out of range, -EADDRINUSE, -EACCES. */
COLOOP_API int co_tcp_listen(const char *host, int port, int backlog);

/* The local port of a socket, or a negative errno (-ENOTSUP if it is not an IP socket). */
COLOOP_API int co_port(int fd);

/* Connects to a numeric address with TCP_NODELAY set. Suspends. Returns the fd, or a negative
 * errno: -EINVAL for a host that is not numeric, -ECONNREFUSED, -ETIMEDOUT, -ECANCELED. */
#define co_tcp_connect(host, port) co_tcp_connect_here((host), (port), CO_HERE)
COLOOP_API int co_tcp_connect_here(const char *host, int port, const char *where);

/* The same for a socket in the file system; a path that begins with '@' is an abstract one (Linux).
 * Listening replaces a socket file that nobody listens on any more, as co_close leaves it behind;
 * -EADDRINUSE if somebody does, or if the path is another kind of file. -ENAMETOOLONG.
 * co_unix_connect suspends, co_unix_listen does not. */
#define co_unix_connect(path) co_unix_connect_here((path), CO_HERE)
COLOOP_API int co_unix_listen(const char *path);
COLOOP_API int co_unix_connect_here(const char *path, const char *where);

typedef struct co_serve_options {
    size_t limit; /* connections at a time; 0 = no limit. At the limit no more are accepted. */
    int64_t
        grace_ms; /* on cancel: how long running handlers may go on; negative = until they end */
    size_t stack_size; /* of the handlers; 0 = the loop's */
} co_serve_options_t;

/* Accepts connections on fd until cancelled. Suspends. Each connection runs handler(fd, arg) in a
 * task of its own, and its fd is closed with co_close after it. options may be NULL. TCP
 * connections get TCP_NODELAY. Out of fds or memory it waits for a connection to end, or a moment,
 * and goes on. When it is cancelled or out of time it stops accepting, gives the handlers grace_ms,
 * cancels those still running, waits for them and returns the code; on any other error of accept
 * likewise, also on -EBADF, after co_close of the listening fd, and -ENOMEM if the deadline of a
 * scope around it finds no memory. The fd itself stays open, and its clients wait in the queue:
 * close it to turn new ones away during the grace. A handler's failure goes to the exception
 * handler, but not -EPIPE and -ECONNRESET, for a peer that left. */
#define co_serve(fd, handler, arg, options)                                                        \
    co_serve_here((fd), (handler), (arg), (options), #handler, CO_HERE)
typedef int co_serve_fn(int fd, void *arg);
COLOOP_API int co_serve_here(int fd, co_serve_fn *handler, void *arg,
                             const co_serve_options_t *options, const char *name,
                             const char *where);

#ifdef __cplusplus
}
#endif
#endif
