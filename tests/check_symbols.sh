#!/bin/sh
# The shared library exports exactly what the public headers declare with COLOOP_API, all of it with a prefix.
# So is everything in the static one that other programs' names could meet.
# Usage: check_symbols.sh NM LIBRARY INCLUDE_DIR [ARCHIVE]
nm=$1 library=$2 include=$3 archive=${4:-}
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

# Comments and macros off, one declaration a line, and of each the name before its first parenthesis.
sed -e '/^ *#/d' -e 's,/\*.*\*/,,' -e '/\/\*/,/\*\//d' "$include"/coloop/*.h | tr '\n;{}' ' \n\n\n' |
    sed -n 's/.*COLOOP_API[^(]*[ *]\([A-Za-z_][A-Za-z0-9_]*\) *(.*/\1/p' | sort -u >"$tmp/declared"
"$nm" -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort -u >"$tmp/exported"
[ -s "$tmp/declared" ] || { echo "no declarations found in $include"; exit 2; }
[ -s "$tmp/exported" ] || { echo "no exported symbols found in $library"; exit 2; }

bad=0
complain() { # message, for each line of standard input
    while read -r name; do echo "$name: $1"; done >"$tmp/lines"
    [ ! -s "$tmp/lines" ] || { cat "$tmp/lines"; bad=1; }
}
grep -vE '^(coloop|loop|co)_' "$tmp/exported" >"$tmp/foreign"
comm -13 "$tmp/declared" "$tmp/exported" >"$tmp/extra"
comm -23 "$tmp/declared" "$tmp/exported" >"$tmp/missing"
complain 'exported without the prefix coloop_, loop_ or co_' <"$tmp/foreign"
complain 'exported, but no public header declares it with COLOOP_API' <"$tmp/extra"
complain 'declared with COLOOP_API, but not exported' <"$tmp/missing"
if [ -n "$archive" ]; then
    "$nm" -g --defined-only "$archive" | awk 'NF == 3 { print $NF }' |
        grep -vE '^(coloop|loop|co)_|^__' >"$tmp/foreign"
    complain 'global in the archive without the prefix coloop_, loop_ or co_' <"$tmp/foreign"
fi
[ $bad = 1 ] || echo "$(wc -l <"$tmp/exported") symbols, as declared"
exit $bad
