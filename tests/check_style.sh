#!/bin/sh
# What no compiler checks. Usage: check_style.sh [ROOT]
cd "${1:-.}" || exit 2
export LC_ALL=C

files=$(find CMakeLists.txt src include examples tests -type f | sort)
# The words are put together here so that this file does not find itself.
# shellcheck disable=SC2016,SC2086
awk -v todo='TO''DO|FIX''ME|XX''X' '
function fail(rule) { print FILENAME ":" FNR ": " rule; count[rule]++; bad = 1 }
FNR == 1 { files++ }
/\t/ { fail("tab") }
/[ \t\r]$/ { fail("trailing blank") }
$0 ~ "(^|[^A-Za-z_])(" todo ")([^A-Za-z_]|$)" { fail("word") }
{
    gsub(/[\200-\277]/, "") # of a character in UTF-8, count the first byte
    if (length($0) > 110) fail("long")
}
END {
    if (count["tab"]) print "tab: tabs have a different width for every reader; indent by four spaces."
    if (count["trailing blank"]) print "trailing blank: it shows as a change in somebody else'"'"'s diff."
    if (count["word"]) print "word: such notes stay for ever; do it, or open an issue."
    if (count["long"]) print "long: over 110 columns two files do not stand side by side; wrap the line."
    if (!bad) print files " files keep to the style"
    exit bad
}' $files
