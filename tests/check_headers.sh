#!/bin/sh
# Each public header compiles alone, as C11 and as C++20, with every compiler found, and coloop.h brings all.
# And what they suggest to write gives no warning.
# Usage: check_headers.sh INCLUDE_DIR
cd "$1" || exit 2
bad=0
warnings='-Wall -Wextra -Wpedantic -Wshadow -Werror'

idioms='
#include <coloop.h>
long read_soon(int fd, void *to) { long n; co_timeout(500) n = co_read(fd, to, 1); return n; }
long read_by(int fd, void *to, int64_t at) { long n; co_timeout_at(at) n = co_read(fd, to, 1); return n; }
long read_on(int fd, void *to) { long n; co_shield() n = co_read(fd, to, 1); return n; }'

compile() { # compiler, language, standard
    command -v "$1" >/dev/null || { echo "$1: not installed, passed over"; return; }
    for header in coloop.h coloop/*.h; do
        # shellcheck disable=SC2086
        echo "#include <$header>" | "$1" -x "$2" "-std=$3" $warnings -fsyntax-only -I. - ||
            { echo "$1 -std=$3: $header does not compile alone"; bad=1; }
    done
    # shellcheck disable=SC2086
    echo "$idioms" | "$1" -x "$2" "-std=$3" $warnings -O2 -c -o /dev/null -I. - ||
        { echo "$1 -std=$3: warns where a user would not expect it"; bad=1; }
    echo "$1 -std=$3: done"
}
compile gcc c c11
compile clang c c11
compile g++ c++ c++20
compile clang++ c++ c++20

for header in coloop/*.h; do
    grep -q "^#include <$header>" coloop.h || { echo "coloop.h does not include $header"; bad=1; }
done
exit $bad
