# The tables in Markdown; after medians.awk. That of growth has a column for each number of things.
function number(v) {
    return v >= 100 ? thousands(int(v + 0.5)) : sprintf(v >= 10 ? "%.1f" : "%.2f", v)
}
function figure(key, name) { return has(key, name) ? number(value[key, name]) : "" }
function times(key, name, of) {
    return has(key, name) && of != "" && has(key, of) ? sprintf("%.2f", ratio(key, name, of)) : ""
}
function others(key, but,    i, name, text) {
    for (i = 1; i <= contenders; i++) {
        name = names[i]
        if (has(key, name) && name != but && name != "limit" && name != OWN)
            text = text (text == "" ? "" : "; ") name " " figure(key, name)
    }
    return text
}
function line(key,    peer) {
    peer = best(key)
    printf "| %s | %s | %s | %s | %s | %s | %s |\n", label[key], figure(key, "limit"), figure(key, OWN),
        times(key, OWN, "limit"), peer == "" ? "" : peer " " figure(key, peer), times(key, OWN, peer),
        others(key, peer)
}
function add_growth(key,    part) {
    split(key, part, SUBSEP)
    sub(/^growth-/, "", part[1])
    if (!(part[1] in grown)) order[++kinds] = part[1]
    grown[part[1]] = grown[part[1]] " " figure(key, OWN) " |"
    if (!(part[2] in numbers)) { head = head " " thousands(part[2]) " |"; rule = rule " ---: |" }
    numbers[part[2]] = 1
}
END {
    for (r = 1; r <= rows; r++) {
        if (row[r] ~ /^growth/) { add_growth(row[r]); continue }
        if (!lines++) {
            print "| work | limit | libcoloop | times the limit | best peer | times the best peer | others |"
            print "| --- | ---: | ---: | ---: | --- | ---: | --- |"
        }
        line(row[r])
    }
    if (kinds) print (lines ? "\n" : "") "| of so many, each, ns |" head "\n| --- |" rule
    for (k = 1; k <= kinds; k++) print "| " order[k] " |" grown[order[k]]
}
