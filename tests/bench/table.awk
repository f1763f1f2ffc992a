# The table in Markdown; after medians.awk.
function number(v) { return v >= 100 ? thousands(int(v + 0.5)) : v >= 10 ? sprintf("%.1f", v) : sprintf("%.2f", v) }
function times(key, name, of) {
    return has(key, name) && of != "" && has(key, of) ? sprintf("%.2f", ratio(key, name, of)) : ""
}
function others(key, but,    i, name, text) {
    for (i = 1; i <= contenders; i++) {
        name = names[i]
        if (has(key, name) && name != but && name != "limit" && name != OWN)
            text = text (text == "" ? "" : "; ") name " " number(value[key, name])
    }
    return text
}
END {
    print "| work | limit | libcoloop | times the limit | best peer | times the best peer | others |"
    print "| --- | ---: | ---: | ---: | --- | ---: | --- |"
    for (r = 1; r <= rows; r++) {
        key = row[r]
        peer = best(key)
        printf "| %s | %s | %s | %s | %s | %s | %s |\n", label[key],
            has(key, "limit") ? number(value[key, "limit"]) : "", has(key, OWN) ? number(value[key, OWN]) : "",
            times(key, OWN, "limit"), peer == "" ? "" : peer " " number(value[key, peer]),
            times(key, OWN, peer), others(key, peer)
    }
}
