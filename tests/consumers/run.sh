#!/bin/sh
# Builds and runs a user's program that gets libcoloop in one of the ways in which users get it. Usage:
# [CC=...] [CXX=...] run.sh install|subdirectory|package|cxx|pkgconfig BUILD_DIR
# `install` comes first: it puts the library of BUILD_DIR where all but `subdirectory` look for it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kind=$1 build=$2
work=$build/consumers/$kind prefix=$build/consumers/prefix
cmake=${CMAKE:-cmake}
rm -rf "$work"

project() { # CMake arguments
    "$cmake" -S "$here/$kind" -B "$work" -DCMAKE_BUILD_TYPE=Release "$@"
    "$cmake" --build "$work" -j2
    for app in "$work"/app_*; do
        echo "run ${app##*/}"
        "$app"
    done
}

pkgconfig() {
    mkdir -p "$work"
    pc=$(find "$prefix" -name coloop.pc)
    libdir=$(cd "$(dirname "$pc")/.." && pwd)
    export PKG_CONFIG_PATH="$libdir/pkgconfig"
    cc=${CC:-cc}
    set -x
    # shellcheck disable=SC2046
    "$cc" -std=c11 "$here/app.c" $(pkg-config --cflags --libs coloop) "-Wl,-rpath,$libdir" \
        -o "$work/app_shared"
    "$work/app_shared"
    set +x
    # Wholly static, where the C library can be linked so.
    if echo 'int main(void) { return 0; }' | "$cc" -static -x c - -o "$work/probe"; then
        set -x
        # shellcheck disable=SC2046
        "$cc" -std=c11 -static "$here/app.c" $(pkg-config --static --cflags --libs coloop) \
            -o "$work/app_static"
        "$work/app_static"
    fi
}

case $kind in
    install) rm -rf "$prefix"; "$cmake" --install "$build" --prefix "$prefix" ;;
    subdirectory) project ;;
    package | cxx) project "-DCMAKE_PREFIX_PATH=$prefix" ;;
    pkgconfig) pkgconfig ;;
    *) echo "$0: what is '$kind'?" >&2; exit 2 ;;
esac
