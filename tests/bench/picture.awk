# The picture, in SVG; after medians.awk. A line is a work, a mark a contender: the further to the right,
# the more times the limit it takes (or, where there is none, the best of all). The scale is logarithmic.
function reference(key,    i, name, least) {
    if (has(key, "limit")) return "limit"
    least = ""
    for (i = 1; i <= contenders; i++) {
        name = names[i]
        if (has(key, name) && (least == "" || ratio(key, name, least) < 1)) least = name
    }
    return least
}
function x_of(times) {
    if (times < LEAST) times = LEAST
    if (times > MOST) times = MOST
    return LEFT + WIDTH * log(times / LEAST) / log(MOST / LEAST)
}
function text(x, y, anchor, words) {
    printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, words
}
function stroke(x1, y1, x2, y2, color) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, color
}
function vertical(times, color,    x) {
    x = x_of(times)
    stroke(x, TOP - 10, x, bottom, color)
    text(x, TOP - 16, "middle", times)
}
function mark(x, y, name, times,    radius) {
    radius = name == OWN ? 5.5 : 3.5
    printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.1f\" ", x - radius,
        y - radius, 2 * radius, 2 * radius, name in square ? 0 : radius
    printf "fill=\"%s\"><title>%s %.2f</title></rect>\n", color[name], name, times
}
# libcoloop is red, its variants lighter, the limits grey; the peers share the rest, and are squares the
# second time round.
function choose_colors(    i, n, colors, next_) {
    n = split("#1f77b4 #2ca02c #9467bd #8c564b #e377c2 #17becf #bcbd22 #ff7f0e #393b79 #637939 #8c6d31",
        colors, " ")
    for (i = 1; i <= contenders; i++) {
        if (names[i] == OWN) color[names[i]] = "#d62728"
        else if (names[i] ~ "^" OWN) color[names[i]] = "#f4a3a3"
        else if (names[i] ~ /^limit/) color[names[i]] = "#999999"
        else {
            color[names[i]] = colors[next_ % n + 1]
            if (next_++ >= n) square[names[i]] = 1
        }
    }
}
function legend(    i, x, y) {
    x = LEFT + WIDTH + 30
    for (i = 1; i <= contenders; i++) {
        y = TOP + (i - 1) * 18
        mark(x, y, names[i], 1)
        text(x + 12, y + 4, "start", names[i])
    }
}
function line(key, y,    i, base, t) {
    base = reference(key)
    text(LEFT - 10, y + 4, "end", label[key])
    stroke(LEFT, y, LEFT + WIDTH, y, "#eeeeee")
    for (i = contenders; i >= 1; i--) {
        if (!has(key, names[i]) || names[i] == OWN) continue
        t = ratio(key, names[i], base)
        mark(x_of(t), y, names[i], t)
    }
    if (has(key, OWN)) mark(x_of(ratio(key, OWN, base)), y, OWN, ratio(key, OWN, base))
}
END {
    LEFT = 250; WIDTH = 700; TOP = 60; STEP = 18; LEAST = 0.5; MOST = 1000
    for (r = 1; r <= rows; r++)
        if (row[r] !~ /^growth/ && unit[row[r]] !~ /^(stacks|mappings)$/) shown[++lines] = row[r]
    bottom = TOP + lines * STEP
    height = bottom + 20 > TOP + contenders * 18 ? bottom + 20 : TOP + contenders * 18
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" ", LEFT + WIDTH + 230, height
    print "font-family=\"sans-serif\" font-size=\"12\">"
    print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    text(LEFT, 22, "start", "times the hand-written limit, or, without one, the best of all; less is better")
    choose_colors()
    split("1 2 5 10 20 50 100 200 500 1000", ticks, " ")
    for (t = 1; t in ticks; t++) vertical(ticks[t], t == 1 ? "#555555" : "#dddddd")
    for (r = 1; r <= lines; r++) line(shown[r], TOP + (r - 1) * STEP + 5)
    legend()
    print "</svg>"
}
