#!/usr/bin/env bash
# How long a container takes from its start to its first request served, from its stop signal to its
# end, and from a crash to its slot out of rotation; and what of it is Berth's own. One minute; sets up
# what is missing.
#   scripts/bench-start.sh [RUNS]   default: 30
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need gcc libc6-dev haproxy procps
need_rust
cargo build --quiet --locked --release --package berth --examples
printf '%s, %s CPUs, %s\n\n' "$(uname -m)" "$(nproc)" "$(haproxy -v | sed -n '1s/ 20.*//p')"
cargo bench --quiet --locked --package berth --bench start -- "$@"
