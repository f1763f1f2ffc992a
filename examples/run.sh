#!/bin/sh
# Builds the library and the examples below build/examples, installing what is missing (Debian), and runs one.
#   sh examples/run.sh                the main job: load drives httpd, the server, for a few seconds
#   sh examples/run.sh NAME [ARGS]    another example, from the caller's folder
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
build=$home/build/examples
. "$home/tests/need.sh"

name=${1:-load}
if ! grep -qs '^int main(' "$home/examples/$name.c"; then
    echo "There is no example '$name'. The examples are:" >&2
    grep -l '^int main(' "$home"/examples/*.c | sed 's,.*/\(.*\)\.c,    \1,' >&2
    exit 2
fi
if [ $# = 0 ]; then
    echo "Building libcoloop, then running its web server (examples/httpd.c) under load (examples/load.c)"
    set -- load -s "$build/examples/httpd"
    targets='example_load example_httpd'
else
    echo "Building libcoloop, then running examples/$name.c"
    targets=example_$name
fi
shift

need gcc:gcc 'echo "#include <errno.h>" | gcc -E -:libc6-dev' cmake:cmake make:make
mkdir -p "$build"
# shellcheck disable=SC2086
{ cmake -S "$home" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCOLOOP_TESTS=OFF -DCOLOOP_BENCH=OFF &&
    cmake --build "$build" -j "$(nproc)" --target $targets; } >"$build/build.log" 2>&1 ||
    { cat "$build/build.log" >&2; exit 1; }
exec "$build/examples/$name" "$@"
