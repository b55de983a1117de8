#!/usr/bin/env bash
# Proves a binary static, and runs it where there is nothing else.
set -euo pipefail
. "$(dirname "$0")/../scripts/install.sh"
need binutils

binary=$1
if readelf --program-headers "$binary" | grep -q INTERP; then
  echo "$binary asks for a dynamic loader" >&2 && exit 1
fi
if readelf --dynamic "$binary" | grep -q NEEDED; then
  echo "$binary needs shared libraries" >&2 && exit 1
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "$binary" "$root/berth"
version=$(as_root chroot "$root" /berth --version)
[[ $version == "berth "* ]] || { echo "in an empty chroot: $version" >&2 && exit 1; }
# It wraps itself, there being nothing else, and passes the exit code on.
wrapped=$(as_root chroot "$root" /berth -- /berth --version)
[ "$wrapped" = "$version" ] || { echo "wrapped in an empty chroot: $wrapped" >&2 && exit 1; }
code=0
as_root env HAPROXY_SERVER=nowhere.invalid chroot "$root" /berth /berth /missing 2>/dev/null || code=$?
[ "$code" = 127 ] || { echo "registering in an empty chroot: exit code $code" >&2 && exit 1; }
echo "$binary is static and runs in an empty chroot"
