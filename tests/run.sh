#!/bin/sh
# Builds the library in one variant below build/ and runs its tests; installs what is missing (Debian).
#   sh tests/run.sh [--gcc|--clang] [--asan|--valgrind] [--ucontext] [--poll|--kqueue|--old-kqueue]
#       [--filter REGEX]
#   sh tests/run.sh --macos                     compiles and links everything for macOS, and runs nothing
#   sh tests/run.sh --all [--filter REGEX]      several variants one after the other, and a table of them
set -u
variants='--gcc --clang --asan --asan,--clang --ucontext --poll --kqueue --valgrind --ucontext,--asan'
cd "$(dirname "$0")/.." || exit 2
. tests/need.sh

all='' compiler=gcc asan='' ucontext='' valgrind='' poll='' kqueue='' filter=''
while [ $# -gt 0 ]; do
    case $1 in
        --all) all=1 ;;
        --gcc | --clang) compiler=${1#--} ;;
        --asan) asan=-asan ;;
        --ucontext) ucontext=-ucontext ;;
        --valgrind) valgrind=-valgrind ;;
        --poll) poll=1 ;;
        --kqueue | --old-kqueue) kqueue=-${1#--} ;; # the tests' own, on top of epoll
        --macos) exec sh tests/run_macos.sh ;;
        --filter) filter=${2:?--filter needs a regular expression}; shift ;;
        *) sed -n '2,6s/^# *//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
if [ "$asan$valgrind" = -asan-valgrind ]; then
    echo "--asan and --valgrind both replace the allocator: run one after the other" >&2
    exit 2
fi

set -- gcc:gcc g++:g++ 'echo "#include <errno.h>" | gcc -E -:libc6-dev' cmake:cmake make:make \
    pkg-config:pkg-config 'pkg-config --exists cmocka:libcmocka-dev'
[ "$compiler$all" = gcc ] || set -- "$@" clang:clang \
    'test -e "$(clang -print-file-name=libclang_rt.asan-$(uname -m).a)":libclang-rt-dev'
[ -z "$valgrind$all" ] || set -- "$@" valgrind:valgrind 'valgrind true:libc6-dbg' # it needs libc's symbols
[ -z "$all" ] || set -- "$@" gdb:gdb # for the check of backtraces, skipped without it
need "$@"

# --- One variant ----------------------------------------------------------------------------------

run_variant() {
    build=build/$compiler$asan$ucontext$kqueue$valgrind
    # The checks of sources and package need no more than a plain build.
    plain=$ucontext$poll$kqueue
    # A loop on poll has no fd to hand out: loop_fd is -ENOTSUP.
    skip=${poll:+foreign_poll}
    cc=gcc CXX=g++
    [ "$compiler" = gcc ] || cc=clang CXX=clang++
    export CXX
    [ -z "$poll" ] || export COLOOP_SELECTOR=poll # looked at when a loop is made; the build is the same

    echo "Building $build"
    mkdir -p "$build"
    { cmake -S . -B "$build" -DCMAKE_C_COMPILER=$cc -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCOLOOP_WERROR=ON \
        -DCOLOOP_SANITIZE="${asan:+address,undefined}" -DCOLOOP_VALGRIND="${valgrind:+ON}" \
        -DCOLOOP_SELECTOR="$([ -n "$kqueue" ] && echo kqueue || echo auto)" \
        -DCOLOOP_KQUEUE_OLD="$([ "$kqueue" = -old-kqueue ] && echo ON || echo OFF)" \
        -DCOLOOP_CONTEXT="$([ -n "$ucontext" ] && echo ucontext || echo auto)" &&
        cmake --build "$build" -j "$(nproc)"; } >"$build/build.log" 2>&1 ||
        { cat "$build/build.log"; return 1; }
    cd "$build" && ctest --output-on-failure -j2 --no-tests=error --no-label-summary \
        ${plain:+-LE 'check|consumer'} ${skip:+-E $skip} ${filter:+-R "$filter"}
}

# --- All variants ---------------------------------------------------------------------------------

# Each variant is a process of its own, so that the others go on whatever happens to it.
run_all() {
    mkdir -p build
    log=build/variant.log table=build/variants.txt bad=0
    printf '%-20s %6s %6s %6s %8s\n' variant tests passed failed seconds >$table
    for variant in $variants; do
        flags=$(echo "$variant" | tr , ' ')
        printf '\n=== tests/run.sh %s\n' "$flags"
        began=$(date +%s)
        # shellcheck disable=SC2086
        { sh tests/run.sh $flags ${filter:+--filter "$filter"} </dev/null; echo $? >$log.status; } 2>&1 |
            tee $log
        status=$(cat $log.status) seconds=$(($(date +%s) - began))

        counts=$(sed -n 's/.*tests passed, \([0-9]*\) tests* failed out of \([0-9]*\).*/\1 \2/p' $log)
        failed=${counts% *} tests=${counts#* }
        if [ -n "$counts" ]; then
            printf '%-20s %6d %6d %6d %8d\n' "$flags" "$tests" $((tests - failed)) "$failed" $seconds
        else
            printf '%-20s %20s %8d\n' "$flags" 'did not run' $seconds
        fi >>$table
        # The last words are those of the last variant that failed; if none did, of the last one.
        if [ "$status" != 0 ] || [ $bad = 0 ]; then
            closing=$(sed -n '/% tests passed/,$p' $log)
            [ -n "$closing" ] || closing="tests/run.sh $flags did not get to its tests"
        fi
        [ "$status" = 0 ] || bad=1
    done
    printf '\n%s\n\n%s\n' "$(cat $table)" "$closing"
    return $bad
}

if [ -n "$all" ]; then run_all; else run_variant; fi
