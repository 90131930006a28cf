#!/usr/bin/env bash
# Makes what tests with guests need, from Debian's packages, without installing any: QEMU 10 with the
# libraries that this machine lacks, a kernel, and an initramfs of busybox, three modules and ./init.
#
#   kit.sh [DIRECTORY]
#
# The directory is RINGPORT_GUEST_KIT unless given, else ringport/guest-kit in the user's cache. Needs no
# root, and apt only for downloads.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name="guest kit"
kit=${1:-${RINGPORT_GUEST_KIT:-${XDG_CACHE_HOME:-$HOME/.cache}/ringport/guest-kit}}
# shellcheck source=debian.sh
source "$here/debian.sh"

recipe() { cat "$here/debian.sh" "$here/kit.sh" "$here/init"; }

build() {
    need_tools
    need_bookworm
    say "downloading lists and packages"
    apt_lists bookworm bookworm-backports bookworm-security
    download_qemu
    download busybox-static "$(newest_kernel)"
    say "unpacking"
    unpack
    unpack_kernel "$part"/apt/kernel/boot/vmlinuz-*
    pack_initramfs "$part/apt/busybox/bin/busybox" "$here/init" $(find "$part/apt/kernel/lib" -name '*.ko.xz')
}

download_qemu() {
    local tools=()
    command -v zstd >/dev/null || tools=(zstd)
    # These even if they are installed, of the rest what is not. An older qemu-user would have to be replaced,
    # and is not needed.
    apt-get "${options[@]}" -y --no-install-recommends --download-only -t bookworm-backports --reinstall install \
        qemu-system-{x86,common,data} seabios "${tools[@]}" qemu-user- >/dev/null || fail "apt cannot download QEMU"
}

unpack() {
    for package in "$part"/apt/cache/archives/*.deb; do dpkg -x "$package" "$part/qemu"; done
    dpkg -x "$part"/apt/busybox-static_*.deb "$part/apt/busybox"
    mkdir "$part/apt/kernel"
    dpkg --fsys-tarfile "$part"/apt/linux-image-*.deb | tar -x -C "$part/apt/kernel" --wildcards \
        './boot/vmlinuz-*' '*/virtio_net.ko.xz' '*/net_failover.ko.xz' '*/failover.ko.xz'
    rm -rf "$part"/qemu/usr/share/{doc,man,locale,lintian} "$part"/qemu/usr/bin/qemu-system-i386
}

make_kit
