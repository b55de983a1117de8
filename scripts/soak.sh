#!/usr/bin/env bash
# Random faults for as long as you like, on every HAProxy at hand; see tests/soak.rs.
#   scripts/soak.sh [DURATION] [SEED]     default: 10m, and a seed by chance
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need gcc libc6-dev haproxy procps
need_rust
duration=${1:-10m} seed=${2:-$RANDOM}
case $duration in
  *h) seconds=$((${duration%h} * 3600)) ;;
  *m) seconds=$((${duration%m} * 60)) ;;
  *) seconds=${duration%s} ;;
esac
scripts/haproxy-versions.sh
echo "seed $seed, $seconds seconds"
cargo build --quiet --locked --examples
BERTH_TEST_FULL=1 BERTH_SOAK_SECONDS=$seconds BERTH_SOAK_SEED=$seed \
  env --default-signal cargo test --quiet --locked -p berth --test soak -- --nocapture
