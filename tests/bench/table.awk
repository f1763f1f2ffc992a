# The table in Markdown; after medians.awk.
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
END {
    print "| work | limit | libcoloop | times the limit | best peer | times the best peer | others |"
    print "| --- | ---: | ---: | ---: | --- | ---: | --- |"
    for (r = 1; r <= rows; r++) {
        key = row[r]
        peer = best(key)
        printf "| %s | %s | %s | %s | %s | %s | %s |\n", label[key], figure(key, "limit"), figure(key, OWN),
            times(key, OWN, "limit"), peer == "" ? "" : peer " " figure(key, peer),
            times(key, OWN, peer), others(key, peer)
    }
}
