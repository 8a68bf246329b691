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
    for store in "${HONE_ROOT:-/var/lib/hone}" "$HOME/.local/share/hone"; do
        [ -d "$store" ] || continue
        # A tree below DESTDIR is for another machine; this one's engines do not know it.
        [ -n "${DESTDIR:-}" ] || for_place "$store" env HONE_ROOT="$store" HONE_PREFIX="$prefix" \
            "$HERE/packaging/debian/prerm" remove
        say "left: $store, images and versions"
    done
    for_place "$to/lib/hone" "$HERE/packaging/take" "$to"
}
