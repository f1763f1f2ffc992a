/* libcoloop: a single-threaded event loop with stackful coroutines. This header brings everything.
 */
#ifndef COLOOP_H
#define COLOOP_H

#include <coloop/base.h>
#include <coloop/loop.h>
#include <coloop/task.h>
#include <coloop/scope.h>
#include <coloop/error.h>
#include <coloop/group.h>
#include <coloop/sync.h>
#include <coloop/future.h>
#include <coloop/chan.h>
#include <coloop/io.h>
#include <coloop/net.h>
#include <coloop/debug.h>
#include <coloop/testing.h>

#endif
