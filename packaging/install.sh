# Sourced by ../x: onto this machine, and away from it.

# place PREFIX: where that is now.
place() {
    case $1 in /*) echo "${DESTDIR:-}$1" ;; *) die "$1: want a path that begins with /" ;; esac
}

# for_place DIR COMMAND...: with root's rights where DIR is not one's own.
for_place() {
    above=$1
    shift
    while [ ! -e "$above" ]; do above=$(dirname "$above"); done
    if [ -w "$above" ]; then "$@"; else as_root "$@"; fi
}

install_to() {
    to=$(place "${1:-/usr/local}")
    setup
    build
    tree "$TARGET/tree"
    for_place "$to" "$HERE/packaging/put" "$TARGET/tree" "$to"
    say "installed $to/bin/hone; ./x uninstall ${1:-} takes it away again"
}

uninstall_from() {
    prefix=${1:-/usr/local}
    to=$(place "$prefix")
    [ -e "$to/lib/hone/installed" ] || die "uninstall $to: nothing was installed there"
    system=${HONE_ROOT:-/var/lib/hone} own=$HOME/.local/share/hone
    # A tree below DESTDIR is for another machine; this one's engines do not know it. Where PREFIX is root's, all users'.
    if [ -z "${DESTDIR:-}" ]; then
        if [ -d "$system" ]; then where=$system; else where=$to/lib/hone; fi
        for_place "$where" env HONE_ROOT="$system" HONE_PREFIX="$prefix" "$HERE/packaging/debian/prerm" remove
        HONE_ROOT=$own HONE_PREFIX=$prefix "$HERE/packaging/debian/prerm" remove
    fi
    for store in "$system" "$own"; do
        [ ! -d "$store" ] || say "left: $store, images and versions"
    done
    for_place "$to/lib/hone" "$HERE/packaging/take" "$to"
}
