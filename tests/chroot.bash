# Sourced by */make-chroot: a Debian root (forky, or SUITE), made once, and commands in it. Expects `root`, the folder;
# needs root.

mirror() { # the one this machine already uses, where it has the suite
  local used
  # awk gives up at a file that is not there
  used=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    awk '/^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } } /^URIs:/ { print $2; exit }' || true)
  if [ -n "$used" ] && /usr/lib/apt/apt-helper -qq -o APT::Sandbox::User= download-file \
    "$used/dists/$1/Release" "$root.release" >/dev/null 2>&1; then
    echo "$used"
  else
    echo http://deb.debian.org/debian # of Ubuntu, say, whose mirrors have none of Debian's
  fi
  rm -f "$root.release"
}

# in_root COMMAND...: in a mount namespace that ends with it. The current folder is /work there; or, with CHROOT_BINDS
# (folders, separated by colons), those folders are where they are outside, and the current one must be in them.
in_root() {
  unshare --mount --propagation private -- bash -euc '
    root=$1; here=$2; shift 2
    mount --bind "$root" "$root" # an engine unpacks images only where / is a mount point
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    for folder in run tmp; do mount -t tmpfs tmpfs "$root/$folder"; done # nothing of one command is left to the next
    IFS=:; for folder in ${CHROOT_BINDS:-}; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
    if [ -z "${CHROOT_BINDS:-}" ]; then mkdir -p "$root/work"; mount --bind "$here" "$root/work"; here=/; fi
    cd "$root"; exec chroot . env --chdir="$here" "$@"' _ "$root" "$PWD" "$@"
}

# how this machine reaches packages holds in there too
same_packages() {
  local file
  mkdir -p "$root/etc/ssl/certs"
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/resolv.conf /etc/hosts; do
    [ ! -e "$file" ] || cp -L "$file" "$root$file"
  done
  for file in "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
    [ ! -e "$file" ] || cp -L "$file" "$root/etc/pip.conf"
  done
  for file in $(grep -ls 'Acquire::' /etc/apt/apt.conf.d/*); do
    case $file in *docker*) ;; *) cp -L "$file" "$root/etc/apt/apt.conf.d/" ;; esac
  done
}

# make_root FILL PACKAGE...: whole or not at all; FILL, a command, does what is left to do when the packages are there.
make_root() {
  local dir=$root fill=$1
  shift
  root=$dir.new
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  # bookworm's debootstrap does not know forky by name; its script is sid's, and every suite's.
  debootstrap --variant=minbase --merged-usr "${SUITE:-forky}" "$root" "$(mirror "${SUITE:-forky}")" /usr/share/debootstrap/scripts/sid >/dev/null
  same_packages
  if [ $# != 0 ]; then
    in_root apt-get update -qq
    in_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
  fi
  # again: installing ca-certificates made the bundle anew
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  "$fill"
  in_root apt-get clean
  touch "$root/.ready"
  rm -rf --one-file-system "$dir"
  mv "$root" "$dir"
  root=$dir
}
