#!/usr/bin/env bash
# Makes what tests with guests need, from Debian's packages, without installing any: QEMU 10 with the
# libraries that this machine lacks, a kernel, and an initramfs of busybox, three modules and ./init.
#
#   kit.sh [DIRECTORY]
#
# The directory is RINGPORT_GUEST_KIT unless given, else ringport/guest-kit in the user's cache. One that
# this recipe made is left alone; any other is replaced when the new one is complete. Needs no root, and
# apt only for downloads, with lists of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kit=${1:-${RINGPORT_GUEST_KIT:-${XDG_CACHE_HOME:-$HOME/.cache}/ringport/guest-kit}}
kit=$(realpath -m "$kit")
part=$kit.part
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'guest kit: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What the kit is made by; tests compare it with what they were built beside.
recipe() { cat "$here/kit.sh" "$here/init"; }

complete() { [ -f "$kit/recipe" ] && recipe | cmp -s - "$kit/recipe"; }

check_machine() {
    for tool in apt-get dpkg flock gzip tar xz; do
        command -v "$tool" >/dev/null || fail "$tool is missing"
    done
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

apt_options() {
    local main security
    main=$(archive bookworm)
    security=$(archive bookworm-security)
    [ -n "$main" ] && [ -n "$security" ] || fail "apt knows no archive of bookworm or of bookworm-security"
    mkdir -p "$part/apt/lists/partial" "$part/apt/cache/archives/partial"
    cat >"$part/apt/sources.list" <<LIST
deb [signed-by=$keyring] $main bookworm main
deb [signed-by=$keyring] $main bookworm-backports main
deb [signed-by=$keyring] $security bookworm-security main
LIST
    options=(-q -q -o Dir::Etc::sourcelist="$part/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$part/apt/lists" -o Dir::Cache="$part/apt/cache" -o Debug::NoLocking=1
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o APT::Sandbox::User= -o APT::Update::Error-Mode=any)
}

download() {
    local kernel tools=()
    say "downloading lists and packages"
    apt-get "${options[@]}" update || fail "apt has no lists: is there a network?"
    kernel=$(apt-cache "${options[@]}" depends linux-image-6.12-amd64 |
        awk '$1 == "Depends:" { print $2; exit }') || true
    [ -n "$kernel" ] || fail "bookworm-security has no kernel 6.12"
    command -v zstd >/dev/null || tools=(zstd)
    # These even if they are installed, of the rest what is not. An older qemu-user would have to be replaced,
    # and is not needed.
    apt-get "${options[@]}" -y --no-install-recommends --download-only -t bookworm-backports --reinstall install \
        qemu-system-{x86,common,data} seabios "${tools[@]}" qemu-user- >/dev/null || fail "apt cannot download QEMU"
    (cd "$part/apt" && apt-get "${options[@]}" download busybox-static "$kernel" >/dev/null) ||
        fail "apt cannot download $kernel"
}

unpack() {
    say "unpacking"
    for package in "$part"/apt/cache/archives/*.deb; do dpkg -x "$package" "$part/qemu"; done
    dpkg -x "$part"/apt/busybox-static_*.deb "$part/apt/busybox"
    mkdir "$part/apt/kernel"
    dpkg --fsys-tarfile "$part"/apt/linux-image-*.deb | tar -x -C "$part/apt/kernel" --wildcards \
        './boot/vmlinuz-*' '*/virtio_net.ko.xz' '*/net_failover.ko.xz' '*/failover.ko.xz'
    rm -rf "$part"/qemu/usr/share/{doc,man,locale,lintian} "$part"/qemu/usr/bin/qemu-system-i386
}

# The kernel as it is once unpacked: an emulated CPU takes two seconds to unpack it.
kernel() {
    local compressed=$1 at
    at=$(LC_ALL=C grep -aobUP -m1 '\x28\xb5\x2f\xfd' "$compressed" | head -1 | cut -d: -f1)
    # Behind the kernel are other things, which zstd complains about.
    tail -c "+$((at + 1))" "$compressed" |
        PATH=$PATH:$part/qemu/usr/bin zstd -qdc >"$part/vmlinux" 2>/dev/null || true
    [ "$(head -c 4 "$part/vmlinux" | tail -c 3)" = ELF ] || fail "no kernel was found in $compressed"
}

initramfs() {
    local root=$part/apt/initramfs
    mkdir -p "$root"/{bin,dev,lib,proc,sys,tmp}
    cp "$part/apt/busybox/bin/busybox" "$root/bin/"
    find "$part/apt/kernel/lib" -name '*.ko.xz' -exec cp {} "$root/lib/" \;
    xz -d "$root"/lib/*.xz
    install -m 755 "$here/init" "$root/init"
    (cd "$root" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -9 >"$part/initramfs.gz"
}

make() {
    check_machine
    rm -rf "$part"
    # Nothing that is half done stays.
    trap 'rm -rf "$part"' EXIT
    apt_options
    download
    unpack
    kernel "$part"/apt/kernel/boot/vmlinuz-*
    initramfs
    rm -rf "$part/apt"
    recipe >"$part/recipe"
    rm -rf "$kit"
    mv "$part" "$kit"
}

complete && exit 0
mkdir -p "$(dirname "$kit")" || fail "$(dirname "$kit") cannot be made"
exec 9>"$kit.lock"
flock 9
complete && exit 0
make
say "made in $SECONDS s, $(du -sm "$kit" | cut -f1) MB: $kit"
