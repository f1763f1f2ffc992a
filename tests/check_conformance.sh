#!/bin/sh
# Whether each test that asyncio_conformance.md names, "file: function", is in that file and is run by it.
# Usage: check_conformance.sh [ROOT]
cd "${1:-.}/tests" || exit 2
export LC_ALL=C

table=asyncio_conformance.md
named=$(grep -oE 'test_[a-z0-9_]+\.c: [a-z0-9_]+' $table | sort -u)
if [ -z "$named" ]; then
    echo "$table names no test" >&2
    exit 1
fi

bad=0
# shellcheck disable=SC2086
set -- $named
number=$(($# / 2))
while [ $# -gt 0 ]; do
    file=${1%:} name=$2
    shift 2
    if [ ! -f "$file" ]; then
        echo "$table: $file: there is no such file ($name)"
        bad=1
    elif ! grep -qE "^static void $name\\(" "$file"; then
        echo "$table: $file: there is no $name"
        bad=1
    elif ! tr -d ' \n' <"$file" | grep -qE "cmocka_unit_test(_setup)?\\($name[,)]"; then
        echo "$table: $file: $name is not run"
        bad=1
    fi
done
[ $bad = 0 ] && echo "$number tests named in $table are there and run"
exit $bad
