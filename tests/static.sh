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
name=$(basename "$binary")
cp "$binary" "$root/$name"
in_root() { as_root chroot "$root" "/$name" "$@"; }
version=$(in_root --version)
[[ $version == "$name "* ]] || { echo "in an empty chroot: $version" >&2 && exit 1; }

case $name in
  berth)
    # It wraps itself, there being nothing else, and passes the exit code on.
    wrapped=$(in_root -- /berth --version)
    [ "$wrapped" = "$version" ] || { echo "wrapped in an empty chroot: $wrapped" >&2 && exit 1; }
    code=0
    as_root env HAPROXY_SERVER=nowhere.invalid chroot "$root" /berth /berth /missing 2>/dev/null || code=$?
    [ "$code" = 127 ] || { echo "registering in an empty chroot: exit code $code" >&2 && exit 1; }
    ;;
  berth-scaler)
    # Its time zones and its store come with it.
    cat >"$root/scaler.toml" <<'CONFIG'
[store]
url = "sqlite:/scaler.db"
[[policy]]
policy_name = "p"
service_name = "s"
autoscale_max_instance = 2
[[policy.schedule]]
cron = "0 8 * * *"
time_zone = "Europe/Berlin"
duration = "1h"
min = 2
CONFIG
    in_root check /scaler.toml >/dev/null
    said=$(in_root history --config /scaler.toml)
    [ "$said" = "nothing yet" ] || { echo "history in an empty chroot: $said" >&2 && exit 1; }
    ;;
esac
echo "$binary is static and runs in an empty chroot"
