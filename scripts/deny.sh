#!/usr/bin/env bash
# Checks what the dependencies are: licences, bans and sources always; advisories when their database
# can be had, since an outage of that feed says nothing about this code. Advisories that are found
# fail the check.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh
need_rust
need_cargo_tool deny

cargo deny --locked --workspace check --hide-inclusion-graph bans licenses sources

if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked --workspace check advisories
else
  echo "SKIPPED: the advisory database cannot be fetched, so no advisories were looked for" >&2
fi
