# Reads lines "work TAB contender TAB parameter TAB unit TAB value", and takes the median of each. What
# comes after it uses:
#   row[1..rows]          keys of work, parameter and unit, in the order of their first appearance
#   label[row]            for people
#   value[row, contender] medians; names[1..contenders] has all contenders
#   limit(row), own(row), best(row) and ratio(row, a, b)
BEGIN { FS = "\t"; OWN = "libcoloop" }
NF == 5 {
    key = $1 SUBSEP $3 SUBSEP $4
    if (!(key in label)) {
        row[++rows] = key
        label[key] = $1 ($3 > 0 ? ", " thousands($3) : "") ", " $4
        unit[key] = $4
    }
    if (!($2 in known)) { known[$2] = 1; names[++contenders] = $2 }
    all[key, $2, ++count[key, $2]] = $5
}
function thousands(n,    text) {
    for (text = ""; n >= 1000; n = int(n / 1000)) text = sprintf(",%03d", n % 1000) text
    return n text
}
function median(key, name,    n, i, j, v) {
    n = count[key, name]
    for (i = 2; i <= n; i++) {
        v = all[key, name, i]
        for (j = i - 1; j >= 1 && all[key, name, j] > v; j--) all[key, name, j + 1] = all[key, name, j]
        all[key, name, j + 1] = v
    }
    return n % 2 ? all[key, name, (n + 1) / 2] : (all[key, name, n / 2] + all[key, name, n / 2 + 1]) / 2
}
function has(key, name) { return (key, name) in value }
function is_peer(name) { return name !~ "^limit" && name !~ "^" OWN }
# How many times a is as bad as b: of rates, less is worse.
function ratio(key, a, b) {
    if (unit[key] == "1/s") return value[key, a] > 0 ? value[key, b] / value[key, a] : 0
    return value[key, b] > 0 ? value[key, a] / value[key, b] : 0
}
# The best peer's name, or "".
function best(key,    i, name, found) {
    found = ""
    for (i = 1; i <= contenders; i++) {
        name = names[i]
        if (has(key, name) && is_peer(name) && (found == "" || ratio(key, name, found) < 1)) found = name
    }
    return found
}
END {
    for (r = 1; r <= rows; r++)
        for (c = 1; c <= contenders; c++)
            if ((row[r], names[c]) in count) value[row[r], names[c]] = median(row[r], names[c])
}
