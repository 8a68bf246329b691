# Sourced by ../x: what belongs on a machine, as one tree, and packages of it. Expects `for_arch`.

# They lie beside each other, since that is how they find each other.
PROGRAMS="hone hone-run hone-runtime hone-keeper"
# Those of them that people and engines call.
COMMANDS="hone hone-run hone-runtime"

# By name: what else a user has in these folders, such as data of one's own, is nobody's.
DOCS="README.md LICENSE docs/ARCHITECTURE.md docs/build.md docs/cli.md docs/contract.md docs/honefile.md docs/packages.md
    docs/performance.md docs/runtime.md docs/store.md docs/testing.md docs/transports.md examples/quickstart/Honefile
    examples/quickstart/data/captain.jsonl"

# tree DIR: all that a PREFIX gets: programs, trainer and frontend in lib/hone, links in bin, manual, completions, docs.
tree() (
    umask 022
    rm -rf "$1"
    lib=$1/lib/hone doc=$1/share/doc/hone
    mkdir -p "$1/bin" "$lib" "$1/share/man/man1" "$1/share/man/man8"
    for program in $PROGRAMS; do install -m 755 "$BIN/$program" "$lib/$program"; done
    cp -R "$BIN/trainers" "$BIN/frontend" "$lib/"
    for command in $COMMANDS; do ln -s "../lib/hone/$command" "$1/bin/$command"; done
    # Of this machine's programs, whose words are the same.
    hone=$TARGET/release/hone
    "$hone" man "$1/share/man/man1"
    "$TARGET/release/hone-runtime" man "$1/share/man/man8"
    gzip -9n "$1"/share/man/man?/*
    "$hone" completion bash | install -D -m 644 /dev/stdin "$1/share/bash-completion/completions/hone"
    "$hone" completion zsh | install -D -m 644 /dev/stdin "$1/share/zsh/site-functions/_hone"
    "$hone" completion fish | install -D -m 644 /dev/stdin "$1/share/fish/vendor_completions.d/hone.fish"
    for file in $DOCS; do install -D -m 644 "$file" "$doc/$file"; done
    install -m 644 packaging/debian/copyright "$doc/copyright"
    # Whoever made it, and with whatever umask.
    find "$1" -type d -exec chmod 755 {} + -o -type f -perm /111 -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
)

# Of what is built: the same bytes from the same programs, wherever and whenever.
pack() (
    say "packages"
    # builder/cli/Cargo.toml names it; cargo-deb finds what is in there.
    usr=$TARGET/$TRIPLE/release/package
    out=$TARGET/packages/$ARCH
    SOURCE_DATE_EPOCH=$(date -d "$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%s)
    export SOURCE_DATE_EPOCH
    tree "$usr"
    # An older version would be taken for this one.
    rm -rf "$out"
    mkdir -p "$out"
    cargo deb --quiet --locked --package hone --target "$TRIPLE" --no-build --no-strip --no-separate-debug-symbols \
        --output "$out/" >/dev/null
    name=hone-$("$TARGET/release/hone" --version | cut -d ' ' -f 2)-$ARCH
    tar -C "$usr" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --transform "flags=r;s,^\.,$name," -cf - . | zstd -q -12 -T0 -f -o "$out/$name.tar.zst"
)

package() {
    for_arch "${1:-$HOST}"
    case $ARCH in x86_64 | aarch64) ;; *) die "package $ARCH: want x86_64 or aarch64" ;; esac
    # What packs a trainer and writes the manual is this machine's.
    if [ -n "$CROSS" ]; then
        (
            for_arch "$HOST"
            setup
            programs
        )
    fi
    setup
    packages zstd
    cargo_tool deb $CARGO_DEB
    build
    pack
    ls "$TARGET/packages/$ARCH"/*
}
