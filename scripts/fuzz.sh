#!/usr/bin/env bash
# Feeds random bytes to everything that parses what comes from outside.
#   scripts/fuzz.sh [SECONDS] [TARGET]...   default: 60 seconds each, all targets
# Installs Rust nightly and cargo-fuzz where they are missing. An input that breaks something is left
# in fuzz/artifacts/TARGET; put it into fuzz/seeds/TARGET and src/fuzz.rs, so that the tests try it
# from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

seconds=${1:-60}
[ $# = 0 ] || shift
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)

need_rust
cargo +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
need_cargo_tool fuzz

# Not the host that cargo-fuzz itself was built for.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo +nightly fuzz build --target "$host"
for target in "${targets[@]}"; do
  echo "== $target, $seconds seconds"
  mkdir -p "fuzz/corpus/$target"
  cargo +nightly fuzz run --target "$host" "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=16384 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1
done
