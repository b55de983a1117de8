#!/usr/bin/env bash
# Sourced by the other scripts: installs what they need and is missing. Knows Debian and Ubuntu.

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
  # Nothing that is installed here may start a server of its own.
  DEBIAN_FRONTEND=noninteractive as_root env RUNLEVEL=1 apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 install "${missing[@]}" >/dev/null
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
  if [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
    echo "Rust $wanted or later is needed, this is $have: run rustup update" >&2
    return 1
  fi
}
