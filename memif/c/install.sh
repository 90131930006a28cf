#!/usr/bin/env bash
# Builds the C library and installs it: shared and static library, header, pkg-config file.
# See ./install.sh --help.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
    cat <<'TXT'
usage: memif/c/install.sh [--prefix DIR] [--libdir DIR] [--destdir DIR] [--archive FILE]

  --prefix DIR    where it is to live; /usr/local unless said otherwise
  --libdir DIR    where the libraries are to live; PREFIX/lib unless said otherwise
  --destdir DIR   put in front of both: for those who make packages
  --archive FILE  the static library that was built already; else cargo builds it

environment
  CC                 the C compiler that links, cc unless said otherwise
  CARGO_TARGET_DIR   where cargo builds
TXT
}

prefix=/usr/local libdir='' destdir='' archive=''
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) prefix=${2:?} ;;
    --libdir) libdir=${2:?} ;;
    --destdir) destdir=${2:?} ;;
    --archive) archive=${2:?} ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
    esac
    shift 2
done
libdir=${libdir:-$prefix/lib}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
# Until 1.0 a new minor version may break what is there.
abi=${version%.*}
# What rustc --print native-static-libs says.
private='-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc'

if [ -z "$archive" ]; then
    (cd "$root" && cargo build --release -p ringport-memif-c)
    archive=${CARGO_TARGET_DIR:-$root/target}/release/libringport_memif_c.a
fi

lib=$destdir$libdir include=$destdir$prefix/include
install -d "$lib/pkgconfig" "$include"
install -m 644 "$here/include/ringport_memif.h" "$include"
install -m 644 "$archive" "$lib/libringport_memif.a"

# rustc cannot do this step: the version script that it gives the linker has no names for versions.
# shellcheck disable=SC2086 # several libraries
"${CC:-cc}" -shared -o "$lib/libringport_memif.so.$version" \
    -Wl,-soname,"libringport_memif.so.$abi" -Wl,--version-script="$here/ringport_memif.map" \
    -Wl,--no-undefined -Wl,--gc-sections -Wl,--strip-debug -Wl,-z,relro,-z,now \
    -Wl,--whole-archive "$archive" -Wl,--no-whole-archive $private
ln -sf "libringport_memif.so.$version" "$lib/libringport_memif.so.$abi"
ln -sf "libringport_memif.so.$abi" "$lib/libringport_memif.so"

sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@VERSION@|$version|" -e "s|@PRIVATE@|$private|" \
    "$here/ringport_memif.pc.in" >"$lib/pkgconfig/ringport_memif.pc"
