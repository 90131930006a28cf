#!/bin/sh
# Puts the plugin into the node's directory of plugins, and stays, as a DaemonSet must.
#
#   install.sh [SOURCE [DIRECTORY]]     INSTALL_ONCE=1: ends instead
#
# A runtime may start the plugin at any moment: it sees the old file or the new one, never a part.
set -eu

source=${1:-/userspace}
directory=${2:-/host/opt/cni/bin}
new=$directory/.userspace.$$

trap 'rm -f "$new"' EXIT
cp "$source" "$new"
chmod 0755 "$new"
sync "$new" 2>/dev/null || sync
mv -f "$new" "$directory/userspace"
trap - EXIT

echo "installed $directory/userspace"
[ "${INSTALL_ONCE:-}" = 1 ] && exit 0

trap 'exit 0' TERM INT
while :; do
    sleep 3600 &
    wait $!
done
