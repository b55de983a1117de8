#!/usr/bin/env bash
# Checks what the dependencies are: licences, bans and sources always; advisories when their database
# can be had, since an outage of that feed says nothing about this code. Advisories that are found
# fail the check.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$HOME/.cargo/bin"

if ! cargo deny --version >/dev/null 2>&1; then
  echo "installing cargo-deny, which takes some minutes"
  cargo install --quiet --locked cargo-deny
fi
cargo deny --locked --workspace check --hide-inclusion-graph bans licenses sources

databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked --workspace check advisories
elif [ -n "$(find "$databases" -name "*.md" -print -quit 2>/dev/null)" ]; then
  echo "the advisory database cannot be fetched: using the last one" >&2
  cargo deny --locked --workspace --offline check --disable-fetch advisories
else
  echo "SKIPPED: the advisory database cannot be fetched, so no advisories were looked for" >&2
fi
