#!/bin/sh
# A check that cannot fail proves nothing: each one is shown a small tree with a fault and must name it.
# Usage: check_checks.sh CC NM
cc=$1 nm=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 2
bad=0

good_tree() {
    rm -rf src include examples tests
    mkdir -p src/base src/loop src/task include/coloop examples tests
    touch CMakeLists.txt
    echo '#include "base/list.h"' >src/loop/loop.c
    echo '#include <coloop/base.h>' >src/base/alloc.c
    cat >include/coloop/base.h <<END
#define COLOOP_API __attribute__((visibility("default")))
COLOOP_API int coloop_one(void); /* COLOOP_API int coloop_comment(void); */
COLOOP_API void *const *
coloop_two(int (*fn)(void));
END
    echo '#include <coloop/base.h>' >include/coloop.h
}
expect() { # status, words in the output, command
    status=$1 words=$2
    shift 2
    output=$("$@" 2>&1)
    found=$?
    case $output in *"$words"*) [ $found != "$status" ] || return ;; esac
    echo "expected status $status and '$words' of: $*"
    echo "$output"
    bad=1
}
fault() { # file, line to put at its end, command and words as for expect
    good_tree
    printf '%b\n' "$2" >>"$1"
    shift 2
    expect 1 "$@"
}

layers="sh $here/check_layers.sh ."
style="sh $here/check_style.sh ."
headers="sh $here/check_headers.sh include"
good_tree
# shellcheck disable=SC2086
{
expect 0 '2 files' $layers
expect 0 'keep to the style' $style
expect 0 'done' $headers
fault src/loop/loop.c '#include "task/task.h"' 'loop must not know task' $layers
fault src/loop/loop.c '# include <coloop/task.h>' 'loop must not know task' $layers
fault src/loop/loop.c '#include <coloop.h>' 'loop must not know debug' $layers
fault src/loop/loop.c '#include "list.h"' 'by its layer' $layers
fault src/loop/loop.c '#include <coloop/new.h>' 'not in the list' $layers
fault src/base/alloc.c '#include "loop/loop.h"' 'base must not know loop' $layers
fault src/base/alloc.c 'int\tx;' 'alloc.c:2: tab' $style
fault src/base/alloc.c 'int x; ' 'alloc.c:2: trailing blank' $style
fault src/base/alloc.c '/* TO''DO */' 'alloc.c:2: word' $style
fault src/base/alloc.c "/* $(printf '%0110d' 0) */" 'alloc.c:2: long' $style
fault include/coloop/base.h 'size_t coloop_three(void);' 'does not compile alone' $headers
fault include/coloop/new.h 'int x;' 'coloop.h does not include' $headers
}

good_tree
echo 'static void one_works(void **state) {} cmocka_unit_test(one_works)' >tests/test_a.c
echo '| | test_a.c: one_works |' >tests/asyncio_conformance.md
expect 0 '1 tests named' sh "$here/check_conformance.sh" .
echo '| | test_a.c: two_works |' >>tests/asyncio_conformance.md
expect 1 'there is no two_works' sh "$here/check_conformance.sh" .
echo 'static void two_works(void **state) {}' >>tests/test_a.c
expect 1 'two_works is not run' sh "$here/check_conformance.sh" .

symbols() { # C source
    good_tree
    echo "$1" | "$cc" -shared -fPIC -fvisibility=hidden -Iinclude -include coloop.h -x c - -o lib.so
    echo "$1" | "$cc" -c -fvisibility=hidden -Iinclude -include coloop.h -x c - -o lib.o
    sh "$here/check_symbols.sh" "$nm" lib.so include lib.o
}
one='int coloop_one(void) { return 1; }'
two='void *const *coloop_two(int (*fn)(void)) { return fn ? 0 : 0; }'
expect 0 '2 symbols' symbols "$one $two"
expect 1 'coloop_two: declared with COLOOP_API, but not exported' symbols "$one"
expect 1 'coloop_three: exported, but no public' symbols "$one $two COLOOP_API int coloop_three; "
expect 1 'three: exported without the prefix' symbols "$one $two COLOOP_API int three; "
expect 1 'three: global in the archive' symbols "$one $two int three; "

# A valgrind that has counted 20 instructions for each lock.
mkdir bin
cat >bin/valgrind <<'END'
#!/bin/sh
for arg in "$@"; do case $arg in --callgrind-out-file=*) out=${arg#*=} ;; esac; done
for times in 1 2; do
    printf 'desc: Trigger: Client Request: lock %d 100\ntotals: %d\n' \
        $times $((500 + times * 2000)) >"$out.$times"
done
END
chmod +x bin/valgrind
instructions() { # row of the table...
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'another C library')
    printf '%s\n' "# this build, $libc" "$@" >table
    PATH=$tmp/bin:$PATH sh "$here/check_instructions.sh" program "${build:-this build}" table
}
expect 0 'lock' instructions 'lock 18.3'
expect 0 'better' instructions 'lock 30'
expect 1 'more than a tenth above the table' instructions 'lock 18.1'
expect 1 'not in the table' instructions
expect 1 'yield: in the table, but not counted' instructions 'lock 20' 'yield 90'
build='another one' expect 77 'of another build' instructions 'lock 20'

[ $bad = 1 ] || echo "every check finds its faults"
exit $bad
