#!/bin/sh
# Each public header compiles alone, as C11 and as C++20, with every compiler found, and coloop.h brings all.
# Usage: check_headers.sh INCLUDE_DIR
cd "$1" || exit 2
bad=0
warnings='-Wall -Wextra -Wpedantic -Wshadow -Werror'

compile() { # compiler, language, standard
    command -v "$1" >/dev/null || { echo "$1: not installed, passed over"; return; }
    for header in coloop.h coloop/*.h; do
        # shellcheck disable=SC2086
        echo "#include <$header>" | "$1" -x "$2" "-std=$3" $warnings -fsyntax-only -I. - ||
            { echo "$1 -std=$3: $header does not compile alone"; bad=1; }
    done
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
