#!/usr/bin/env bash
# Prints how agents and the usual entrypoint script fare when many start at once and when HAProxy
# restarts, and what holding a slot costs HAProxy.
#   scripts/bench-claims.sh [quick]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need haproxy socat
need_rust
scripts/haproxy-versions.sh >&2
BERTH_TEST_FULL=1 cargo bench --quiet --locked --bench claims -- "$@"
