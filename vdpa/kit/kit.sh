#!/usr/bin/env bash
# Makes what tests with vDPA devices need, from Debian's packages, without installing any: a kernel and its
# modules; those of vDPA that Debian does not build, which are the simulator and the driver of virtio devices;
# QEMU 11, the first in Debian whose virtio network devices have virtual functions, with all its libraries,
# for it is of a newer Debian; and an initramfs of busybox, some modules and ./init.
#
#   kit.sh [DIRECTORY]
#
# The directory is RINGPORT_VDPA_KIT unless given, else ringport/vdpa-kit in the user's cache. Needs no root,
# and apt only for downloads (300 MB).
#
#   qemu/                  QEMU and its libraries, to be run by its own ld.so
#   vmlinux, initramfs.gz  the machine: ./init says what it does
#   lib/modules/VERSION    modules, not compressed
#   bin/busybox            programs that the host may lack, such as ping
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name="vdpa kit"
kit=${1:-${RINGPORT_VDPA_KIT:-${XDG_CACHE_HOME:-$HOME/.cache}/ringport/vdpa-kit}}
shared=$here/../../bench/guest/debian.sh
# shellcheck source=../../bench/guest/debian.sh
source "$shared"

# What the initramfs needs for its files; netfs and the like follow from them.
BOOT=(9p 9pnet_virtio overlay)
# What tests may need, with all that it needs itself.
MODULES=(vhost_vdpa virtio_vdpa vduse vdpa_sim_net vp_vdpa vhost_net vfio-pci vfio_iommu_type1 virtio_net igb igbvf
    tun tap veth dummy macvlan bridge af_packet sch_netem)
# What is built here, and its source.
SOURCES=(drivers/vhost/vringh.c drivers/vdpa/vdpa_sim/vdpa_sim{.c,.h,_net.c} drivers/vdpa/virtio_pci/vp_vdpa.c)

recipe() { cat "$shared" "$here/kit.sh" "$here/Makefile" "$here/init"; }

build() {
    need_tools make gcc-12 depmod modprobe zstd
    need_bookworm
    say "downloading lists and packages, 300 MB"
    download_kernel
    download_qemu
    say "unpacking"
    unpack_packages
    unpack_kernel "$kernel"/boot/vmlinuz-*
    say "building modules of $version"
    build_modules
    pick_modules
    pack_boot_modules
    install -D -t "$part/bin" "$part/apt/busybox/bin/busybox"
}

download_kernel() {
    local image
    apt_lists bookworm bookworm-security
    image=$(newest_kernel)
    version=${image#linux-image-}
    download "$image" "linux-headers-$version" "linux-headers-${version%-amd64}-common" \
        "linux-kbuild-${version%-amd64}" busybox-static linux-source-6.12
}

# With everything that it depends on, as if nothing were installed here.
download_qemu() {
    apt_lists trixie trixie-backports
    apt-get "${options[@]}" -o Dir::State::status=/dev/null -y --no-install-recommends --download-only \
        -t trixie-backports install qemu-system-x86 >/dev/null || fail "apt cannot download QEMU"
}

unpack_packages() {
    kernel=$part/apt/kernel headers=$part/apt/headers modules=$part/apt/modules
    for package in "$part"/apt/cache/archives/*.deb; do dpkg -x "$package" "$part/qemu"; done
    rm -rf "$part"/qemu/usr/share/{doc,man,locale,lintian,perl5} "$part"/qemu/usr/bin/qemu-system-i386
    dpkg -x "$part"/apt/busybox-static_*.deb "$part/apt/busybox"
    dpkg -x "$part"/apt/linux-image-*.deb "$kernel"
    for package in "$part"/apt/linux-{headers,kbuild}-*.deb; do dpkg -x "$package" "$headers"; done
    mkdir "$modules"
    # tar leaves when it has found all of them, and its pipe breaks.
    dpkg --fsys-tarfile "$part"/apt/linux-source-*.deb 2>/dev/null |
        tar -xO --occurrence=1 ./usr/src/linux-source-6.12.tar.xz |
        tar -xJ -C "$modules" --occurrence=1 --transform='s|.*/||' "${SOURCES[@]/#/linux-source-6.12/}" || true
    [ -f "$modules/vp_vdpa.c" ] || fail "linux-source-6.12 has no drivers/vdpa/virtio_pci/vp_vdpa.c"
}

# With the headers where they are, instead of where they would be installed.
build_modules() {
    local source=$headers/usr/src/linux-headers-$version
    sed -i "s|^include /|include $headers/|" "$source/Makefile"
    cp "$here/Makefile" "$modules/"
    # As if the user's environment said nothing. Type information would need another tool.
    env -i PATH="$PATH" make -s -C "$source" M="$modules" CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$modules/log" 2>&1 || {
        tail -20 "$modules/log" >&2
        fail "the modules cannot be built"
    }
    install -D -m 644 -t "$kernel/lib/modules/$version/updates" "$modules"/*.ko
    depmod -b "$kernel" "$version"
}

# With all that they need, and not compressed: that would take an emulated CPU its time.
pick_modules() {
    local from=$kernel/lib/modules/$version to=$part/lib/modules/$version files file
    files=$(needed_by "$kernel" "${MODULES[@]}" "${BOOT[@]}") || fail "linux-image-$version lacks a module"
    mkdir -p "$to"
    cp "$from"/modules.{builtin,builtin.modinfo,order} "$to/"
    for file in $files; do install -D -m 644 "$file" "$to/${file#"$from/"}"; done
    find "$to" -name '*.xz' -exec xz -d {} +
    depmod -b "$part" "$version"
}

# The files of modules and of those that they need, in the order in which they are to be loaded.
needed_by() {
    local root=$1
    shift
    modprobe -d "$root" -S "$version" --show-depends --all "$@" | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

pack_boot_modules() {
    local files
    files=$(needed_by "$part" "${BOOT[@]}")
    # shellcheck disable=SC2086 # one word a file
    basename -a $files >"$part/apt/order"
    # shellcheck disable=SC2086
    pack_initramfs "$part/apt/busybox/bin/busybox" "$here/init" $files "$part/apt/order"
}

make_kit
