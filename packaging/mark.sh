# Sourced by put and take.

# mark PATH: what is there now, by what it says: a link's target, a file's digest; nothing where nothing is.
mark() {
    if [ -L "$1" ]; then
        echo "link:$(readlink "$1")"
    elif [ -f "$1" ]; then
        sha256sum <"$1" | cut -d ' ' -f 1
    elif [ -e "$1" ]; then
        echo other
    fi
}
