#!/bin/sh
# Builds and runs the benchmarks, a program for each kind of work, in which the hand-written limit,
# libcoloop, and the peers that are installed or, on Debian, can be, take turns. Below 10 minutes in all.
#   sh tests/bench/run.sh [NAME...]      WORKS says what there is
# Results: build/bench/table.md, raw.csv and ratios.svg. A busy machine gives no figures worth keeping.
set -u
WORKS='switch yield spawn parked ready timers pairs handover post echo count http growth'
cd "$(dirname "$0")/../.." || exit 2
. tests/need.sh
out=build/bench bin=build/bench/bench raw=build/bench/raw.tsv
here=tests/bench python=/usr/bin/python3
newline='
'

for name in "$@"; do
    case " $WORKS " in
        *" $name "*) ;;
        *) echo "There is no work '$name'. The works are: $WORKS" >&2; exit 2 ;;
    esac
done

# --- Getting ready --------------------------------------------------------------------------------

say() { echo "$*" >&2; }

# What cannot be installed is left out later.
install_peers() {
    (need 'test -e /usr/include/uv.h:libuv1-dev' 'test -e /usr/include/ev.h:libev-dev' \
        'test -e /usr/include/event2/event.h:libevent-dev' 'test -e /usr/include/st.h:libst-dev' \
        'test -e /usr/include/boost/context/fiber.hpp:libboost-context-dev' go:golang-go \
        '/usr/bin/python3 -c "import uvloop":python3-uvloop' 'test -x /usr/sbin/nginx:nginx-light' wrk:wrk \
        strace:strace valgrind:valgrind 'valgrind true:libc6-dbg' taskset:util-linux) ||
        say "Some peers could not be installed"
}

build() {
    mkdir -p $out
    { cmake -S . -B $out -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCOLOOP_TESTS=OFF -DCOLOOP_PEERS=ON &&
        cmake --build $out -j "$(nproc)"; } >$out/build.log 2>&1 || { cat $out/build.log >&2; exit 1; }
    if command -v go >/dev/null; then
        go build -o $bin/go $here/go.go >>$out/build.log 2>&1 || say "go.go: see $out/build.log"
    fi
}

# The contenders in other languages, each a line NAME=COMMAND.
find_others() {
    [ ! -x $bin/go ] || echo "Go=$bin/go"
    for name in asyncio uvloop; do
        ! $python -c "import $name" 2>/dev/null || echo "$name=$python $here/asyncio_peer.py $name"
    done
}

tell_missing() {
    sed -n 's/^-- \(.*: left out\)$/\1/p' $out/build.log
    for name in Go asyncio uvloop; do
        case $others in *"$name="*) ;; *) echo "$name is not installed: left out" ;; esac
    done
    for tool in nginx wrk strace valgrind; do
        PATH=$PATH:/usr/sbin command -v $tool >/dev/null || echo "no $tool: what needs it is left out"
    done
}

# --- Counting what the echo servers do ------------------------------------------------------------

each_server() { # calls "$@" NAME COMMAND...
    $bin/echo --servers | while read -r name; do
        "$@" "$name" $bin/echo "$name" </dev/null
    done
    echo "$others" | while IFS='=' read -r name command; do
        # shellcheck disable=SC2086
        [ -z "$command" ] || "$@" "$name" $command echo </dev/null
    done
}

# The client says from when to when it sent so many requests of a size; the trace has a line for each call,
# and for the end of one that was under way while another thread made one.
count_calls() { # connections, name, command...
    connections=$1 name=$2
    shift 2
    timeout 60 $bin/echo --spans $((connections > 3000 ? connections : 3000)) "$connections" \
        strace -f -ttt -qq -e trace=all -e raw=all -e signal=none -o $out/trace "$@" >$out/spans ||
        { say "$name: its calls could not be counted"; return 0; }
    awk -v name="$name" -v connections="$connections" '
        NR == FNR { size[NR] = $1; requests[NR] = $2; from[NR] = $3; to[NR] = $4; sizes = NR; next }
        $3 !~ /^[<+]/ { for (i = 1; i <= sizes; i++) calls[i] += $2 >= from[i] && $2 <= to[i] }
        END { for (i = 1; i <= sizes; i++) printf "echo-calls-%s\t%s\t%s\tcalls\t%.4g\n",
            size[i], name, connections, calls[i] / requests[i] }' $out/spans $out/trace >>$raw
    rm $out/trace
}

# User instructions are counted in runs of n and 2n requests: the difference is free of what happens once.
instructions_of() { # requests, command...
    requests=$1
    shift
    timeout 120 $bin/echo --count "$requests" 100 \
        valgrind -q --tool=callgrind --callgrind-out-file=$out/counted "$@" >&2 &&
        awk '/^totals:/ { n += $2 } END { print n }' $out/counted
}

# Not of interpreters, and of what brings threads and a collector along.
count_instructions() { # name, command...
    n=4000
    name=$1
    shift
    case $name in Go | asyncio | uvloop) return ;; esac
    once=$(instructions_of $n "$@") && twice=$(instructions_of $((2 * n)) "$@") &&
        awk -v more=$((twice - once)) -v n=$n -v name="$name" 'BEGIN {
            printf "echo-instructions-64\t%s\t100\tinstructions\t%.4g\n", name, more / n }' >>$raw
}

run_count() {
    if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
        for connections in 100 1000 10000; do
            each_server count_calls $connections
        done
    fi
    if command -v valgrind >/dev/null; then
        each_server count_instructions
    fi
}

# --- HTTP -----------------------------------------------------------------------------------------

http_port=18400
nginx=$(PATH=$PATH:/usr/sbin command -v nginx)

# The same files for all; nobody logs; each has one process, on the first core.
make_site() {
    site=$(pwd)/$out/site
    mkdir -p "$site"
    echo index >"$site/index.html"
    head -c 1024 /dev/zero | tr '\0' x >"$site/small.txt"
    head -c 102400 /dev/zero | tr '\0' x >"$site/large.txt"
    cat >$out/nginx.conf <<END
daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid $site/../nginx.pid; error_log stderr crit;
events { worker_connections 16384; }
http {
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600;
    default_type text/plain;
    server { listen 127.0.0.1:$http_port backlog=4096; root $site; }
}
END
}

start_http() { # sets server, the process whose time counts
    case $1 in
        limit) (cd "$site" && exec ../bench/http $http_port) & ;;
        libcoloop) taskset -c 0 $out/examples/httpd -q -p $http_port "$site" >/dev/null & ;;
        nginx) taskset -c 0 "$nginx" -p "$site/.." -c "$site/../nginx.conf" & ;;
    esac
    main=$! server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        sleep 0.1
        wrk -t1 -c1 -d0s http://127.0.0.1:$http_port/small.txt >/dev/null 2>&1 && break
    done
    [ "$1" != nginx ] || server=$(cat /proc/$main/task/$main/children)
    server=${server%% *}
}

cpu_ticks() { awk '{ print $14 + $15 }' /proc/"$server"/stat; }

load_http() { # name, file, connections, seconds
    before=$(cpu_ticks)
    taskset -c $last_core wrk -t1 -c"$3" -d"$4"s --latency http://127.0.0.1:$http_port/"$2".txt >$out/wrk.txt
    after=$(cpu_ticks)
    awk -v name="$1" -v file="$2" -v n="$3" -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" '
        function us(text) { return text ~ /us$/ ? text + 0 : text ~ /ms$/ ? text * 1e3 : text * 1e6 }
        function line(what, unit, v) { printf "http-%s-%s\t%s\t%d\t%s\t%.6g\n", what, file, name, n, unit, v }
        $1 == "50%" { p50 = us($2) }
        $1 == "99%" { p99 = us($2) }
        $2 == "requests" { requests = $1 }
        /Non-2xx/ { bad = 1 }
        $1 == "Requests/sec:" { rate = $2 }
        END {
            if (bad || !requests) { print name ": wrong answers" >"/dev/stderr"; exit }
            line("cpu", "us", ticks / hz * 1e6 / requests)
            line("rate", "1/s", rate); line("p50", "us", p50); line("p99", "us", p99)
        }' $out/wrk.txt >>$raw
}

memory_of() { awk -v name="$1:" '$1 == name { print $2 * 1024 }' /proc/"$server"/status; }

# What a connection costs that waits while others are served.
hold_idle() { # name, connections
    before=$(memory_of VmRSS)
    if taskset -c $last_core $bin/idle $http_port "$2" 1000 >$out/idle.txt; then
        awk -v name="$1" -v n="$2" -v bytes=$(($(memory_of VmHWM) - before)) 'BEGIN {
            printf "http-idle-memory\t%s\t%d\tbytes\t%.6g\n", name, n, bytes / n }' >>$raw
    else
        say "$1: $(cat $out/idle.txt)"
    fi
}

serve_http() { # name, whether for the first time
    start_http "$1"
    [ "$2" != 1 ] || hold_idle "$1" 9000
    load_http "$1" small 100 2
    load_http "$1" small 1000 1
    load_http "$1" large 100 1
    kill "$main"
    wait "$main" 2>/dev/null
}

run_http() {
    command -v wrk >/dev/null || return 0
    make_site
    for round in 1 2 3 4 5; do
        for name in limit libcoloop ${nginx:+nginx}; do
            serve_http "$name" $round
        done
    done
}

# --- All of it ------------------------------------------------------------------------------------

# Go and Python do not know what switch, pairs and growth are about.
run_work() {
    case $1 in
        count) run_count ;;
        http) run_http ;;
        switch | pairs | growth) $bin/"$1" >>$raw ;;
        *)
            IFS=$newline
            # shellcheck disable=SC2086
            $bin/"$1" $others >>$raw
            unset IFS ;;
    esac
}

describe() {
    echo "# Benchmarks"
    echo
    echo "$(date -u +%F), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores," \
        "$(uname -sr), $(gcc --version | head -1), -O2, load before: $(cut -d' ' -f1 /proc/loadavg)." \
        "Medians; of times and bytes less is better, of rates (1/s) more; ratios above 1 are always worse."
    echo
    tell_missing
}

report() {
    awk -f $here/medians.awk -f $here/table.awk $raw >>$out/table.md
    awk -f $here/medians.awk -f $here/picture.awk $raw >$out/ratios.svg
    awk 'BEGIN { FS = "\t"; print "work,contender,parameter,unit,value" }
         { print $1 ",\"" $2 "\"," $3 "," $4 "," $5 }' $raw >$out/raw.csv
}

need gcc:gcc 'echo "#include <errno.h>" | gcc -E -:libc6-dev' cmake:cmake make:make
install_peers
build
others=$(find_others)
: >$raw
last_core=$(($(nproc) > 1 ? 1 : 0))
{ describe; echo; } >$out/table.md
[ $# -gt 0 ] || eval "set -- $WORKS"
for work in "$@"; do
    began=$(date +%s)
    run_work "$work"
    say "$work: $(($(date +%s) - began)) s"
done
report
cat $out/table.md
say "Written: $out/table.md, $out/raw.csv, $out/ratios.svg"
