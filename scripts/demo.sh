#!/usr/bin/env bash
# Shows the main job in a few seconds: three apps register themselves with HAProxy, one leaves, and
# HAProxy is killed and comes back; then, with Docker, the scaler (demo-scaler.sh), and the same with Traefik
# (demo-traefik.sh). Sets up what is missing, leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh
. scripts/show.sh

need haproxy curl
scripts/build.sh agent

work=$(mktemp -d)
declare -A pids=()
haproxy_pid=
clean_up() {
  trap '' INT TERM
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$haproxy_pid" ] || kill -9 "$haproxy_pid" 2>/dev/null || true
  rm -rf "$work"
}
# Bash runs it on SIGTERM too. On Ctrl-C what runs just then fails, or the next step ends it all: left
# to itself, bash now and then ends without cleaning up, and a trap that exits cuts it short.
trap clean_up EXIT
trap 'interrupted=1' INT

build_hello "$work/hello"
# Loopback addresses of its own, so that several may run at once.
net=127.0.$(($$ % 250 + 1))
stats=$(port 9999 "$net.1") http=$(port 8080 "$net.1") app=$(port 3128 "$net.11")
stats_at=$net.1/$stats

requests() {
  local answers
  answers=$(for _ in $(seq 12); do curl -s --max-time 5 "http://$net.1:$http/" || echo "no answer"; done)
  sort <<<"$answers" | uniq -c | awk '{ n = $1; $1 = ""; printf "  %2d ×%s\n", n, $0 }'
}

# rotation COUNT: waits for so many slots to be served.
rotation() {
  local deadline=$(($(now) + 15000))
  until [ "$(in_rotation)" = "$1" ]; do
    unless_interrupted
    [ "$(now)" -lt "$deadline" ] || { echo "not within 15 seconds: $1 slots in rotation" >&2 && cat "$work"/*.log >&2 && exit 1; }
    sleep 0.01
  done
}

# start_app NAME ADDRESS: as `docker run` would, each on an address of its own.
start_app() {
  NAME=$1 ADDR=$2 APP_ADDR=$2 PORT=$app HAPROXY_SERVER=$net.1 HAPROXY_PORT=$stats NODE_COUNT=100 \
    dist/berth "$work/hello" 2>>"$work/$1.log" &
  pids[$1]=$!
}

sed -e "s/127.0.0.1:9999/$net.1:$stats/" -e "s/127.0.0.1:8080/$net.1:$http/" -e "s/:3128/:$app/" \
  -e "s|/var/lib/haproxy/server-state|$work/server-state|" examples/haproxy.cfg >"$work/haproxy.cfg"
printf '1\n' >"$work/server-state"

step "1. HAProxy starts with examples/haproxy.cfg: a hundred empty slots."
start_haproxy "$work/haproxy.cfg" "$work/haproxy.log"
slots

step "2. Three containers start. Each finds its slot by itself:"
run "HAPROXY_SERVER=$net.1 HAPROXY_PORT=$stats NODE_COUNT=100 berth hello"
began=$(now)
start_app alice "$net.11"
start_app bob "$net.12"
start_app carol "$net.13"
rotation 3
echo "  in rotation after $(($(now) - began)) ms"
slots
requests

step "3. Bob is stopped. He leaves the load balancer before the app gets its signal."
run "kill -TERM ${pids[bob]}"
began=$(now)
kill -TERM "${pids[bob]}"
wait "${pids[bob]}" || code=$?
echo "  drained, released and stopped after $(($(now) - began)) ms, exit code ${code:-0}"
unset "pids[bob]"
slots
requests

step "4. HAProxy is killed and comes back with nothing."
run "kill -9 $haproxy_pid; haproxy -f examples/haproxy.cfg"
kill -9 "$haproxy_pid"
while kill -0 "$haproxy_pid" 2>/dev/null; do sleep 0.01; done
start_haproxy "$work/haproxy.cfg" "$work/haproxy.log"
began=$(now)
rotation 2
echo "  everybody is back after $(($(now) - began)) ms"
slots
requests

step "5. What Carol's agent said all the while:"
sed 's/^/  /' "$work/carol.log"

step "6. All is stopped."
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || true
pids=()
slots

printf '\n%sPart two: the scaler, with Docker. It is built first, which takes a few minutes.%s\n' "$bold" "$plain"
scripts/demo-scaler.sh

printf '\n%sPart three: Traefik instead of HAProxy.%s\n' "$bold" "$plain"
scripts/demo-traefik.sh
