/* echo.h: the client of echo.c. */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#define ECHO_MAX 65536 /* bytes of a message */

/* Starts the server that is measured, and loads it over so many connections: all sizes, or only
 * the smallest. */
void echo_measure(long connections);
void echo_measure_small(long connections);

/* The arguments from --count or --spans on: starts a server by its command, and loads it. */
int echo_count(char **arguments);

#endif
