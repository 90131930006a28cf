# shellcheck shell=bash
# What the recipes of kits share. A kit is a directory outside the tree with what tests with virtual machines
# need, from Debian's packages: those are downloaded, with lists of our own, and unpacked; none is installed.
#
# Who sources this has set `name`, which messages start with, and `kit`, the directory; has the functions
# `recipe`, which prints what the kit is made by, and `build`, which fills $part, with what is of no use
# later in $part/apt; and calls make_kit at the end. A kit that its recipe made is left alone; any other is
# replaced when the new one is complete.
kit=$(realpath -m "$kit")
part=$kit.part
# Where tools for modules are, which is not in everybody's path.
PATH=$PATH:/usr/sbin:/sbin
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s: %s\n' "$name" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Tests compare the recipe with that which they were built beside.
complete() { [ -f "$kit/recipe" ] && recipe | cmp -s - "$kit/recipe"; }

need_tools() {
    for tool in apt-get dpkg flock gzip tar xz "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is missing"
    done
}

need_bookworm() {
    local codename architecture
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
    architecture=$(dpkg --print-architecture)
    [ "$codename/$architecture" = bookworm/amd64 ] ||
        fail "made of packages of Debian 12 for amd64, which run there; this is $codename for $architecture"
    [ -f "$keyring" ] || fail "$keyring is missing"
}

# Where this machine has its packages from: the address of a suite's archive.
archive() {
    # shellcheck disable=SC2016 # apt replaces these
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | awk -v suite="$1" '$1 == suite { uri = $2 } END { print uri }'
}

# Gives apt lists and a cache of their own in $part/apt, and reads the lists. $options is what apt-get and
# apt-cache are then to be told. SUITE is bookworm-security, or one that is beside bookworm.
#
#   apt_lists SUITE ...
apt_lists() {
    local suite uri
    mkdir -p "$part/apt/lists/partial" "$part/apt/cache/archives/partial"
    for suite in "$@"; do
        case $suite in *-security) uri=$(archive "$suite") ;; *) uri=$(archive bookworm) ;; esac
        [ -n "$uri" ] || fail "apt knows no archive of $suite"
        echo "deb [signed-by=$keyring] $uri $suite main"
    done >"$part/apt/sources.list"
    options=(-q -q -o Dir::Etc::sourcelist="$part/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$part/apt/lists" -o Dir::Cache="$part/apt/cache" -o Debug::NoLocking=1
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o APT::Sandbox::User= -o APT::Update::Error-Mode=any)
    apt-get "${options[@]}" update || fail "apt has no lists: is there a network?"
}

# The package of bookworm-security's newest kernel 6.12.
newest_kernel() {
    local package
    package=$(apt-cache "${options[@]}" depends linux-image-6.12-amd64 |
        awk '$1 == "Depends:" { print $2; exit }') || true
    [ -n "$package" ] || fail "bookworm-security has no kernel 6.12"
    echo "$package"
}

# Downloads packages into $part/apt, without what they depend on.
download() {
    (cd "$part/apt" && apt-get "${options[@]}" download "$@" >/dev/null) || fail "apt cannot download $*"
}

# The kernel as it is once unpacked, as $part/vmlinux: an emulated CPU takes two seconds to unpack it.
unpack_kernel() {
    local compressed=$1 at
    at=$(LC_ALL=C grep -aobUP -m1 '\x28\xb5\x2f\xfd' "$compressed" | head -1 | cut -d: -f1)
    # Behind the kernel are other things, which zstd complains about.
    tail -c "+$((at + 1))" "$compressed" |
        PATH=$PATH:$part/qemu/usr/bin zstd -qdc >"$part/vmlinux" 2>/dev/null || true
    [ "$(head -c 4 "$part/vmlinux" | tail -c 3)" = ELF ] || fail "no kernel was found in $compressed"
}

# $part/initramfs.gz of busybox, which is $1, the init $2, and modules, compressed or not.
#
#   pack_initramfs BUSYBOX INIT MODULE ...
pack_initramfs() {
    local busybox=$1 init=$2 root=$part/apt/initramfs
    shift 2
    mkdir -p "$root"/{bin,dev,lib,proc,sys,tmp}
    cp "$busybox" "$root/bin/busybox"
    cp "$@" "$root/lib/"
    find "$root/lib" -name '*.xz' -exec xz -d {} +
    install -m 755 "$init" "$root/init"
    (cd "$root" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -9 >"$part/initramfs.gz"
}

make_kit() {
    complete && return
    mkdir -p "$(dirname "$kit")" || fail "$(dirname "$kit") cannot be made"
    exec 9>"$kit.lock"
    flock 9
    complete && return
    rm -rf "$part"
    # Nothing that is half done stays.
    trap 'rm -rf "$part"' EXIT
    build
    rm -rf "$part/apt"
    recipe >"$part/recipe"
    rm -rf "$kit"
    mv "$part" "$kit"
    say "made in $SECONDS s, $(du -sm "$kit" | cut -f1) MB: $kit"
}
