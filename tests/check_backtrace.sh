#!/bin/sh
# A debugger's backtrace from inside a coroutine shows its functions and ends cleanly where the
# coroutine began; and it can call loop_dump, also in a program that does not. Usage:
# check_backtrace.sh PROGRAM, which is tests/backtrace/bt.c. Exit code 77: there is no gdb that can
# run it.
program=${1:?usage: check_backtrace.sh PROGRAM}
command -v gdb >/dev/null || { echo "no gdb: skipped"; exit 77; }

out=$(gdb -q -batch -nx -ex 'set debuginfod enabled off' -ex 'set confirm off' \
    -ex 'break innermost' -ex run -ex 'echo === first\n' -ex backtrace -ex continue \
    -ex 'echo === second\n' -ex backtrace \
    -ex 'echo === dump\n' -ex 'call loop_dump(loop_current(), 0)' -ex 'echo === end\n' -ex continue \
    "$program" 2>&1 </dev/null)
case $out in
    *'ptrace: Operation not permitted'* | *'Could not trace the inferior'*)
        echo "gdb may not trace here: skipped"
        exit 77
        ;;
esac

bad=0
complain() {
    echo "$1"
    bad=1
}

# The frames of one of the two backtraces, by function: "innermost deeper ... born".
frames() {
    echo "$out" | sed -n "/^=== $1/,/^===\|^Continuing/p" |
        sed -n 's/^#[0-9]* *\(0x[0-9a-f]* in \)\{0,1\}\([^ ]*\) .*/\2/p' | tr '\n' ' '
}

for which in first second; do
    list=$(frames $which)
    case $list in
        'innermost deeper deeper deeper coroutine_main '*'born ') ;;
        *) complain "the $which backtrace is: $list" ;;
    esac
done
case $(echo "$out" | sed -n '/^=== dump/,/^=== end/p') in
    *"'first_main' (#1)"*"'coroutine_main' (#3) running"*) ;;
    *) complain "loop_dump does not show the tasks" ;;
esac
for phrase in 'corrupt stack' '??' 'Cannot access memory' 'previous frame'; do
    case $out in
        *"$phrase"*) complain "gdb says: $phrase" ;;
    esac
done
case $out in
    *'exited normally'*) ;;
    *) complain "the program did not end well" ;;
esac

[ $bad = 0 ] && echo "backtraces end where their coroutine began, and tasks are shown" || echo "$out"
exit $bad
