#!/usr/bin/env bash
# Failed requests while nodes are replaced, scaled and killed, on HAProxy 2.6, 3.0 and 3.2: with Berth,
# with Berth that does not drain, and with the plain script. Prints a table in Markdown.
#   scripts/bench-load.sh [REQUESTS]   at least so many on each (default: 200000), about ten minutes
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need gcc libc6-dev haproxy wrk nghttp2-client socat
need_rust
scripts/haproxy-versions.sh >/dev/null
cargo build --quiet --locked --release --package berth --examples
BERTH_TEST_FULL=1 cargo bench --quiet --locked --package berth --bench load -- "$@"
