# shellcheck shell=sh
# Sourced by the run scripts. `need COMMAND:PACKAGE...` installs, on Debian and its kin, the packages whose
# command is missing; a COMMAND with blanks is a test to be run.
need() {
    missing=
    for item in "$@"; do
        test=${item%:*}
        case $test in
            *' '*) sh -c "$test" >/dev/null 2>&1 ;;
            *) command -v "$test" >/dev/null ;;
        esac || missing="$missing ${item##*:}"
    done
    [ -n "$missing" ] || return 0

    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo='sudo -n'
        $sudo true 2>/dev/null || sudo=none
    fi
    if [ "$sudo" = none ] || ! command -v apt-get >/dev/null; then
        echo "Please install these first (Debian's names):$missing" >&2
        exit 1
    fi
    echo "Installing$missing"
    # shellcheck disable=SC2086
    if ! { $sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
        $sudo apt-get -qq install -y --no-install-recommends $missing; } </dev/null >/tmp/apt.$$ 2>&1; then
        cat /tmp/apt.$$ >&2
        echo "Could not install$missing" >&2
        exit 1
    fi
    rm -f /tmp/apt.$$
}
