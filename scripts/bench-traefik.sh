#!/usr/bin/env bash
# Failed requests while the nodes behind a real Traefik are replaced, by way of Redis and etcd, and many
# containers at once. Prints tables in Markdown.
#   scripts/bench-traefik.sh [REQUESTS [CONTAINERS]]   default: 100000 for each line, 200
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need gcc libc6-dev wrk nghttp2-client
need_rust
scripts/traefik.sh >/dev/null
cargo build --quiet --locked --release --package berth --examples
cargo bench --quiet --locked --package berth --bench traefik -- "$@"
