#!/bin/sh
# Includes go one way: a file in src/ uses only its own layer and those before it in this list. Usage:
# check_layers.sh [ROOT]
layers='base context selector loop task sync io os debug'
cd "${1:-.}" || exit 2

files=$(find src -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "no sources found"; exit 2; }
# shellcheck disable=SC2016,SC2086
awk -v layers="$layers" '
function fail(text) { print FILENAME ":" FNR ": " text; bad = 1 }
BEGIN {
    n = split(layers, name, " ")
    for (i = 1; i <= n; i++) rank[name[i]] = i
    # The layer that each public header belongs to.
    split("base base loop loop task task scope task error task group task future sync sync sync chan sync " \
          "io io net io stream io signal os process os offload os debug debug " \
          "testing debug", pair, " ")
    for (i = 1; i in pair; i += 2) public["coloop/" pair[i] ".h"] = pair[i + 1]
    public["coloop.h"] = name[n]
}
FNR == 1 {
    files++
    split(FILENAME, part, "/")
    layer = part[2]
    if (!(layer in rank)) fail("\"" layer "\" is no layer; the layers are: " layers)
}
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
    header = $0
    sub(/^[^<"]*[<"]/, "", header); sub(/[>"].*/, "", header)
    used = ""
    if (header ~ /^coloop(\.h$|\/)/) {
        if (!(header in public)) fail(header " is not in the list of public headers in tests/check_layers.sh")
        else used = public[header]
    } else if ($0 ~ /"/) {
        used = header; sub(/\/.*/, "", used)
        if (!(used in rank)) {
            fail("include \"" header "\" by its layer, as \"" layer "/" header "\"")
            used = ""
        }
    }
    if (used != "" && rank[used] > rank[layer])
        fail(layer " must not know " used ", which comes after it, but includes " header)
}
END {
    if (!bad) print files " files include only their own layer and those before it"
    exit bad
}' $files
