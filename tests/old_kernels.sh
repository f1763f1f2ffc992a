#!/bin/sh
# Boots older kernels in an emulator and runs unit tests in them, linked statically; Debian on x86-64 only.
#   sh tests/old_kernels.sh [TEST...]     without TEST: those that touch the kernel
# Everything is kept below build/kernels. Exit code 77: something that it takes is not to be had here.
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/need.sh
# Debian's release, which tells the kernel.
releases='bullseye:5.10 bookworm:6.1'
[ $# -gt 0 ] || set -- old_kernel accept await_fd context hangs hangs_kinds hangs_shared loop_fd overflow \
    selector selector_fd selector_wait serve signal stack stack_task threadsafe timer transfer unix watcher
dir=$PWD/build/kernels

skip() {
    echo "skipped: $1"
    exit 77
}
[ "$(uname -sm)" = 'Linux x86_64' ] || skip "this is no Linux on x86-64"
command -v apt-get >/dev/null || skip "there is no apt to fetch kernels with"
# shellcheck disable=SC2016
need gcc:gcc cmake:cmake make:make qemu-system-x86_64:qemu-system-x86 cpio:cpio \
    'busybox true && ! ldd "$(command -v busybox)":busybox-static'
need_cmocka build/cmocka

# --- Kernels --------------------------------------------------------------------------------------

# The one of a release, as $dir/RELEASE/vmlinuz. apt keeps its lists of that release there.
fetch_kernel() {
    [ ! -e "$dir/$1/vmlinuz" ] || return 0
    mkdir -p "$dir/$1/apt/sources" "$dir/$1/apt/lists/partial" "$dir/$1/apt/cache"
    (
        cd "$dir/$1" || exit
        key=/usr/share/keyrings/debian-archive-keyring.gpg
        host=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
            grep -o 'https\{0,1\}://[^ ]*/debian/\{0,1\}\( \|$\)' | head -n 1)
        [ -n "$host" ] || exit
        host=${host% } host=${host%/}
        echo "deb [signed-by=$key] $host $1 main
deb [signed-by=$key] $host-security $1-security main" >apt/sources/all.list
        set -- -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/apt/sources" \
            -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o APT::Sandbox::User=root
        apt-get "$@" update # one of the two may be gone
        image=$(apt-cache "$@" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')
        apt-get "$@" download "$image" && dpkg-deb --fsys-tarfile linux-image-*.deb |
            tar -xf - --wildcards './boot/vmlinuz-*' && mv boot/vmlinuz-* vmlinuz && rm -rf apt boot ./*.deb
    ) </dev/null >"$dir/$1/log" 2>&1
    [ -e "$dir/$1/vmlinuz" ] || { cat "$dir/$1/log"; skip "there is no kernel of Debian's $1 to be had"; }
}

# --- What runs in them ----------------------------------------------------------------------------

build_tests() {
    targets=$(printf ' test_%s' "$@")
    # shellcheck disable=SC2086
    { cmake -S . -B "$dir/tests" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_EXE_LINKER_FLAGS=-static \
        "-DCOLOOP_CMOCKA=$PWD/build/cmocka" -DCOLOOP_EXAMPLES=OFF -DCOLOOP_BENCH=OFF -DCOLOOP_INSTALL=OFF &&
        cmake --build "$dir/tests" -j "$(nproc)" --target $targets; } >"$dir/build.log" 2>&1 ||
        { cat "$dir/build.log"; exit 1; }
}

# The first process of the machine: runs the tests, says how each ended, and switches it off.
write_init() {
    cat <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
ip link set lo up
ulimit -n 20000
echo "kernel $(uname -r)"
cd /tmp
for test in $(cat /list); do
    timeout 100 /tests/test_$test >/tmp/log 2>&1
    status=$?
    [ $status = 0 ] || cat /tmp/log
    grep '^skipped: ' /tmp/log | sort | uniq -c
    echo "result $test $status"
done
poweroff -f
END
}

make_image() {
    root=$dir/root
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/tests"
    cp -L "$(command -v busybox)" "$root/bin/busybox"
    write_init >"$root/init"
    chmod +x "$root/init"
    echo "$*" >"$root/list"
    for test in "$@"; do strip -o "$root/tests/test_$test" "$dir/tests/tests/test_$test" || exit; done
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$dir/initrd" || exit
}

# --- Running --------------------------------------------------------------------------------------

boot() { # release, its kernel's version
    log=$dir/$1/console
    echo "=== Linux $2"
    timeout 300 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -nographic -no-reboot -nodefaults \
        -serial stdio -kernel "$dir/$1/vmlinuz" -initrd "$dir/initrd" \
        -append 'console=ttyS0 quiet panic=-1' </dev/null 2>&1 | tr -d '\r' >"$log"
    passed=$(grep -c '^result .* 0$' "$log")
    if ! grep -q "kernel $2" "$log" || [ "$passed" != "$expected" ]; then
        cat "$log"
        bad=1
    fi
    grep ' skipped: ' "$log"
    echo "Linux $2: $passed of $expected tests passed"
}

bad=0 expected=$#
for release in $releases; do fetch_kernel "${release%:*}"; done
build_tests "$@"
make_image "$@"
for release in $releases; do boot "${release%:*}" "${release#*:}"; done
exit $bad
