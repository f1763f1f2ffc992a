/* http_folder.h: the files of one folder, and no way out of it.
 *
 * Opening and reading files blocks the loop; for a folder on a local disk that is well spent, a
 * server of network drives would use threads. Errors are negative errno values. */
#ifndef HTTP_FOLDER_H
#define HTTP_FOLDER_H

#include "http_text.h"
#include <sys/types.h>

/* Opens a path beneath the folder for reading, wherever "..", symbolic links and races point:
 * -EXDEV or -ELOOP if that is outside. A FIFO is opened without waiting. Returns a fd. */
int folder_open(int folder, const char *path);

/* Sends at most size bytes from *offset of a file to a socket and moves *offset. Does not wait:
 * returns how many, 0 at the end of the file, or -EAGAIN when the socket takes no more. May raise
 * SIGPIPE. */
ssize_t folder_send(int socket, int file, off_t *offset, size_t size);

/* Writes an HTML page of an open folder, whose path is only shown, and closes fd. */
int folder_list(int fd, const char *path, struct text *page);

/* The HTTP status that tells a client what went wrong. */
int folder_status(int error);
#endif
