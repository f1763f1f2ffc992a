#!/bin/sh
# Builds the library in one variant below build/ and runs its tests; installs what is missing (Debian).
#   sh tests/run.sh [FLAG...] [--filter REGEX]    one variant; without a flag that of gcc
#   sh tests/run.sh --all [--filter REGEX]        these variants one after the other, and a table of them
#
# Emulated machines run the main areas, where the whole suite would tell nothing new.
main='context|stack|task|throw|scope|chan|select|mutex|group|transfer|serve|loop|timer|signal|example'
fds='fd|selector|kqueue|transfer|accept|serve|hangs|watcher|threadsafe|signal|loop|example'
variants="
--gcc
--clang
--asan
--asan --clang
--ucontext --asan
--o0 --poll
--kqueue
--old-kqueue --filter $fds
--valgrind
--tsan
--tsan --clang
--hardened
--lto
--o3
--static-pie
--macos
--i386
--musl --static
--musl --shared
--aarch64
--aarch64 --clang --filter $main
--aarch64 --ucontext --filter $main
--aarch64 --hardened --filter $main
--riscv64 --filter $main
--riscv64 --ucontext --filter $main
"
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/need.sh
newline='
'

# --- What a flag means ----------------------------------------------------------------------------

flag() {
    case $1 in
        --gcc) ;;
        --clang)
            cc=clang cxx=clang++
            want clang:clang \
                'test -e "$(clang -print-file-name=libclang_rt.asan-$(uname -m).a)":libclang-rt-dev' ;;
        --asan) configure -DCOLOOP_SANITIZE=address,undefined ;;
        --ucontext) configure -DCOLOOP_CONTEXT=ucontext; checks='' ;;
        --poll)
            export COLOOP_SELECTOR=poll # looked at when a loop is made; the build is the same
            skip=foreign_poll           # such a loop has no fd to hand out
            checks='' ;;
        --kqueue) configure -DCOLOOP_SELECTOR=kqueue; checks='' ;; # the tests' own
        --old-kqueue) configure -DCOLOOP_SELECTOR=kqueue -DCOLOOP_KQUEUE_OLD=ON; checks='' ;;
        --macos) exec sh tests/run_macos.sh ;;
        --valgrind)
            configure -DCOLOOP_VALGRIND=ON
            want valgrind:valgrind 'valgrind true:libc6-dbg' ;; # it needs libc's symbols
        --tsan)
            configure -DCOLOOP_SANITIZE=thread
            setarch -R true 2>/dev/null && wrap='setarch -R' ;; # addresses too random are too much for it
        --hardened) hardened ;;
        --lto) configure -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON; checks='' ;;
        --o0) configure -DCMAKE_BUILD_TYPE=Debug; checks='' ;;
        --o3) configure -DCMAKE_BUILD_TYPE=Release; checks='' ;;
        --static-pie) ported; ldflags=-static-pie ;;
        --static) ldflags=-static ;;
        --shared) configure -DBUILD_SHARED_LIBS=ON ;; # for the examples: the tests look inside
        --i386) i386 ;;
        --musl) musl ;;
        --aarch64) emulated aarch64 arm64 ;;
        --riscv64)
            emulated riscv64 riscv64
            cflags=-funwind-tables ;; # the default elsewhere
        *)
            sed -n '2,4s/^# *//p; /^flag()/,/^}/s/^ \{8\}\(--[a-z0-9]*\)).*/    \1/p' "$0" >&2
            exit 2 ;;
    esac
}

want() { # what `need` is given
    for item in "$@"; do wants=$wants$newline$item; done
}

configure() { # options of CMake
    for option in "$@"; do options=$options$newline$option; done
}

# With what distributions compile for; the half of it that belongs to the machine comes by its name.
hardened() {
    checks=''
    cflags='-fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3'
    case ${target:-$(uname -m)} in
        x86_64*) cflags="$cflags -fcf-protection=full" ;;
        aarch64*) cflags="$cflags -mbranch-protection=standard" ;;
    esac
    configure "-DCMAKE_CXX_FLAGS=$cflags"
}

# Another machine or C library: there is no package of cmocka for it, and the checks of the sources and of
# what is installed would find nothing new.
ported() {
    cmocka=build/cmocka checks=''
    configure "-DCOLOOP_CMOCKA=$PWD/$cmocka"
}

i386() {
    ported
    need gcc:gcc # its version is part of a package's name
    # The package gcc-multilib, which brings <asm>, conflicts with the compilers for other machines.
    cflags="-m32 -idirafter /usr/include/$(uname -m)-linux-gnu"
    want "test -e \"\$(g++ -print-file-name=32/libstdc++.a)\":g++-$(gcc -dumpversion)-multilib"
}

musl() {
    ported
    cc=musl-gcc headers=$PWD/build/linux-headers
    want musl-gcc:musl-tools
    mkdir -p "$headers"
    for folder in linux asm-generic "$(uname -m)-linux-gnu/asm"; do
        ln -sfn "/usr/include/$folder" "$headers/${folder##*/}"
    done
    cflags="-idirafter $headers"
}

emulated() { # machine, and what Debian calls it
    ported
    target=$1-linux-gnu
    configure -DCMAKE_SYSTEM_NAME=Linux "-DCMAKE_SYSTEM_PROCESSOR=$1" \
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-$1;-L;/usr/$target"
    want "$target-gcc:gcc-$target" "$target-g++:g++-$target" \
        "test -e /usr/$target/lib/libc.so:libc6-dev-$2-cross" "qemu-$1:qemu-user"
}

# --- One variant ----------------------------------------------------------------------------------

run_variant() {
    case $name in
        *asan*valgrind* | *valgrind*asan*)
            echo "--asan and --valgrind both replace the allocator: run one after the other" >&2
            return 2 ;;
    esac
    build=build/${name:-gcc}
    case ${target:+$cc} in
        gcc) cc=$target-gcc cxx=$target-g++ ;;
        clang) configure "-DCMAKE_C_COMPILER_TARGET=$target" "-DCMAKE_CXX_COMPILER_TARGET=$target" ;;
    esac
    configure "-DCOLOOP_TEST_FILTER=$filter" # what will not be run need not be built
    configure "-DCMAKE_C_COMPILER=$cc" "-DCMAKE_C_FLAGS=$cflags" "-DCMAKE_CXX_FLAGS=$cflags" \
        "-DCMAKE_EXE_LINKER_FLAGS=$ldflags"
    export CXX=$cxx

    set -f
    IFS=$newline
    # shellcheck disable=SC2086
    set -- $wants
    unset IFS
    set +f
    need "$@"
    [ -z "$cmocka" ] || need_cmocka "$cmocka"

    echo "Building $build"
    mkdir -p "$build"
    set -f
    IFS=$newline
    # shellcheck disable=SC2086
    set -- $options
    unset IFS
    set +f
    { cmake -S . -B "$build" "$@" && cmake --build "$build" -j "$(nproc)"; } >"$build/build.log" 2>&1 ||
        { cat "$build/build.log"; return 1; }
    # shellcheck disable=SC2086
    cd "$build" && $wrap ctest --output-on-failure -j2 --no-tests=error --no-label-summary \
        ${checks:--LE 'check|consumer'} ${skip:+-E $skip} ${filter:+-R "$filter"}
}

# --- All variants ---------------------------------------------------------------------------------

# Each variant is a process of its own, so that the others go on whatever happens to it.
run_all() {
    need gdb:gdb # for the check of backtraces, skipped without it
    mkdir -p build
    log=build/variant.log table=build/variants.txt bad=0
    printf '%-32s %6s %6s %6s %8s\n' variant tests passed failed seconds >$table
    while read -r flags; do
        [ -n "$flags" ] || continue
        label=${flags%% --filter*}
        [ "$label" = "$flags" ] || label="$label, main areas"
        printf '\n=== tests/run.sh %s\n' "$flags"
        began=$(date +%s)
        # shellcheck disable=SC2086
        { sh tests/run.sh $flags ${filter:+--filter "$filter"} </dev/null; echo $? >$log.status; } 2>&1 |
            tee $log
        status=$(cat $log.status) seconds=$(($(date +%s) - began))

        counts=$(sed -n 's/.*tests passed, \([0-9]*\) tests* failed out of \([0-9]*\).*/\1 \2/p' $log)
        failed=${counts% *} tests=${counts#* }
        if [ -n "$counts" ]; then
            printf '%-32s %6d %6d %6d %8d\n' "$label" "$tests" $((tests - failed)) "$failed" $seconds
        elif [ "$status" = 0 ]; then
            printf '%-32s %20s %8d\n' "$label" 'not to be run' $seconds
        else
            printf '%-32s %20s %8d\n' "$label" 'did not run' $seconds
        fi >>$table
        # The last words are those of the last variant that failed; if none did, of the last one.
        if [ "$status" != 0 ] || [ $bad = 0 ]; then
            closing=$(sed -n '/% tests passed/,$p' $log)
            [ -n "$closing" ] || closing="tests/run.sh $flags did not get to its tests"
        fi
        [ "$status" = 0 ] || bad=1
    done <<END
$variants
END
    printf '\n%s\n\n%s\n' "$(cat $table)" "$closing"
    return $bad
}

# --- The command line -----------------------------------------------------------------------------

all='' filter='' name='' cc=gcc cxx=g++ target='' cflags='' ldflags='' cmocka='' checks=1 skip='' wrap=''
options="-DCMAKE_BUILD_TYPE=RelWithDebInfo$newline-DCOLOOP_WERROR=ON"
wants='gcc:gcc
g++:g++
echo "#include <errno.h>" | gcc -E -:libc6-dev
cmake:cmake
make:make
pkg-config:pkg-config
pkg-config --exists cmocka:libcmocka-dev'
while [ $# -gt 0 ]; do
    case $1 in
        --all) all=1 ;;
        --filter) filter=${2:?--filter needs a regular expression}; shift ;;
        --gcc | --poll) flag "$1" ;; # of these, the build is the same
        *) flag "$1"; name=${name:+$name-}${1#--} ;;
    esac
    shift
done
if [ -n "$all" ]; then run_all; else run_variant; fi
