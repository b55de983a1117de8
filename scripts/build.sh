#!/usr/bin/env bash
# Builds dist/berth and dist/berth-scaler: static, stripped, for size.
#   scripts/build.sh [x86_64|aarch64] [agent|scaler|hello]...   default: this machine's kind, agent
# `hello` is the app that Dockerfile.example has. PROFILE=dev builds fast and large, FEATURES=none
# without TLS and Traefik, OUT=DIRECTORY elsewhere than into dist.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

arch=$(uname -m)
case "${1:-}" in x86_64 | aarch64) arch=$1 && shift ;; esac
parts=("${@:-agent}")
packages=()
for part in "${parts[@]}"; do
  case $part in
    agent) packages+=(berth) ;;
    scaler) packages+=(berth-scaler) ;;
    hello) continue ;;
    *) echo "usage: scripts/build.sh [x86_64|aarch64] [agent|scaler|hello]..." >&2 && exit 64 ;;
  esac
done
need gcc libc6-dev
need_rust
# The C compiler for another kind of machine, and its headers.
need_cross() {
  local debian=amd64
  [ "$arch" = x86_64 ] || debian=arm64
  need "gcc-${arch//_/-}-linux-gnu" "libc6-dev-$debian-cross"
}

flags=()
linker=()
if rustup target add "$arch-unknown-linux-musl" >/dev/null 2>&1; then
  target=$arch-unknown-linux-musl
  # Rust brings musl and the linker; a C compiler only has to make objects of dependencies' C parts.
  linker=(-C linker=rust-lld)
  export "CARGO_TARGET_${arch^^}_UNKNOWN_LINUX_MUSL_LINKER=rust-lld"
  if [ "$arch" = "$(uname -m)" ]; then
    need musl-tools
  else
    need_cross
    export "CC_${arch}_unknown_linux_musl=$arch-linux-gnu-gcc"
  fi
  # Without the checks that glibc alone has functions for, and without tables for unwinding, which no C
  # function here is ever part of: 6 kB.
  export "CFLAGS_${arch}_unknown_linux_musl=-U_FORTIFY_SOURCE -fno-asynchronous-unwind-tables"
  # Functions that are the same are there once: 14 kB.
  flags+=(-C link-arg=--icf=all)
  # Linked to a fixed address: pages with pointers then stay in the file, and are no memory of the process's
  # own. ARCHITECTURE.md says what that costs.
  flags+=(-C relocation-model=static)
  # With frame pointers the tables for unwinding say less of each function, and variables on the stack are
  # nearer to a register: 44 kB.
  flags+=(-C force-frame-pointers=yes)
else
  echo "no musl target for this Rust, building with a static glibc"
  target=$arch-unknown-linux-gnu
  [ "$arch" = "$(uname -m)" ] || rustup target add "$target"
  flags=(-C target-feature=+crt-static)
  [ "$arch" = "$(uname -m)" ] || {
    need_cross
    linker=(-C "linker=$arch-linux-gnu-gcc")
    export "CARGO_TARGET_${arch^^}_UNKNOWN_LINUX_GNU_LINKER=$arch-linux-gnu-gcc"
  }
fi

# A panic names the source file that it is in: not by where this machine has it, which is 8 kB.
cargo fetch --quiet --locked
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  case $folder in *[[:space:]\*]*) ;; *) flags+=("--remap-path-prefix=$folder=") ;; esac
done

[ ${#flags[@]} = 0 ] || export RUSTFLAGS="${RUSTFLAGS:-} ${flags[*]}"
profile=${PROFILE:-dist}
features=()
[ -z "${FEATURES:-}" ] || features=(--no-default-features --features "${FEATURES/#none/}")
# One by one: together, each would get the features of shared dependencies that the other asks for.
for package in "${packages[@]}"; do
  cargo build --quiet --locked --profile "$profile" --target "$target" --bins -p "$package" "${features[@]}"
done

out=${OUT:-dist}
[ "$arch" = "$(uname -m)" ] || out+=/$arch
mkdir -p "$out"
for part in "${parts[@]}"; do
  name=berth
  [ "$part" = agent ] || name=berth-$part
  if [ "$part" = hello ]; then
    # It needs nothing but the standard library.
    name=hello
    rustc --edition 2024 -C opt-level=s -C strip=symbols --target "$target" "${flags[@]}" "${linker[@]}" \
      -o "$out/.$name.new" examples/hello.rs
  else
    cp "target/$target/${profile/#dev/debug}/$name" "$out/.$name.new"
  fi
  mv "$out/.$name.new" "$out/$name"
  printf '%s  %s, static, %s bytes\n' "$out/$name" "$target" "$(stat -c %s "$out/$name")"
done
