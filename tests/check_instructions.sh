#!/bin/sh
# Counts the instructions of the hot paths with callgrind, and fails when one takes more than a tenth more
# than the table says.
#   check_instructions.sh [--update] PROGRAM BUILD [TABLE]      PROGRAM is tests/bench/instructions.c
# --update writes the table anew instead. The counts hold for one compiler, its flags and C library: BUILD
# says what PROGRAM was built with, the table's first line what the counts are of. Exit code 77: that
# differs, or there is no valgrind.
set -u
update=''
[ "${1:-}" != --update ] || { update=1; shift; }
program=${1:?usage: check_instructions.sh [--update] PROGRAM BUILD [TABLE]} build=${2:?no BUILD}
table=${3:-$(dirname "$0")/bench/instructions.txt}
build="$build, $(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'another C library')"

command -v valgrind >/dev/null || { echo "no valgrind: skipped"; exit 77; }
if [ -z "$update" ] && [ "$(sed -n 1p "$table")" != "# $build" ]; then
    echo "The table is of another build than '$build': skipped"
    exit 77
fi
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$tmp/out" "$program" >"$tmp/log" 2>&1 || {
    cat "$tmp/log"
    exit 1
}

# Each run is a file with its name, "lock 1 10000", and its total: of two runs, the second did n more.
i=0
while i=$((i + 1)) && [ -f "$tmp/out.$i" ]; do
    awk '/^desc: Trigger: Client Request: / { name = $5; times = $6; n = $7 }
         /^totals: / { print name, times, n, $2 }' "$tmp/out.$i"
done | awk '$2 == 1 { once = $4 } $2 == 2 { printf "%-16s %8.1f\n", $1, ($4 - once) / $3 }' >"$tmp/counts"
[ -s "$tmp/counts" ] || { echo "callgrind counted nothing"; exit 1; }
if [ -n "$update" ]; then
    { echo "# $build"; cat "$tmp/counts"; } >"$table"
    exit
fi

awk '
/^#/ { printf "%-16s %8s %8s\n", "instructions", "table", "now"; next }
NR == FNR { table[$1] = $2; next }
{
    verdict = ""
    if (!($1 in table)) verdict = "not in the table"
    else if ($2 > table[$1] * 1.1) verdict = "more than a tenth above the table"
    bad = bad || verdict
    if (!verdict && $2 < table[$1] * 0.9) verdict = "better: check_instructions.sh --update"
    printf "%-16s %8.1f %8.1f  %s\n", $1, table[$1], $2, verdict
    delete table[$1]
}
END {
    for (name in table) { print name ": in the table, but not counted"; bad = 1 }
    exit !!bad
}' "$table" "$tmp/counts"
