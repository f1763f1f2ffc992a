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

# `need_cmocka FOLDER` puts cmocka's source there, out of Debian's source package. apt keeps its lists below
# FOLDER: those of the system stay as they are.
need_cmocka() {
    [ ! -e "$1/src/cmocka.c" ] || return 0
    need apt-get:apt xz:xz-utils
    echo "Fetching the source of cmocka"
    rm -rf "$1"
    (
        mkdir -p "$1/apt/sources" "$1/apt/lists/partial" "$1/apt/cache" && cd "$1" || exit
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            sed -n 's/^deb /deb-src /p' >apt/sources/all.list
        cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
            sed 's/^Types:.*/Types: deb-src/' >apt/sources/all.sources
        set -- -qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/apt/sources" \
            -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache"
        apt-get "$@" update # another source than Debian may fail
        apt-get "$@" source --download-only cmocka &&
            tar -xf cmocka_*.orig.tar.?z --strip-components=1 && rm -rf apt && test -e src/cmocka.c
    ) </dev/null >/tmp/apt.$$ 2>&1 || {
        cat /tmp/apt.$$ >&2
        echo "Could not get the source of cmocka" >&2
        exit 1
    }
    rm -f /tmp/apt.$$
}
