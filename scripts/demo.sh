#!/usr/bin/env bash
# Shows the main job in a few seconds: three apps register themselves with HAProxy, one leaves, and
# HAProxy is killed and comes back. Sets up what is missing, leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

need haproxy curl
scripts/build.sh agent
cargo build --quiet --locked --release --example hello

work=$(mktemp -d)
declare -A pids=()
haproxy_pid=
clean_up() {
  trap - EXIT INT TERM
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$haproxy_pid" ] || kill -9 "$haproxy_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold= dim= green= plain=
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'; fi

step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s  $ %s%s\n' "$dim" "$*" "$plain"; }
now() { date +%s%3N; }

# port WANTED: that one, or a free one near it.
port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}
stats=$(port 9999) http=$(port 8080)

# haproxy COMMAND: over the stats socket, as containers do it.
ask() {
  { exec 3<>"/dev/tcp/127.0.0.1/$stats"; } 2>/dev/null || return
  printf '%s\n' "$1" >&3
  timeout 5 cat <&3
  exec 3>&-
}

slots() {
  ask 'show servers state webapp' | awk -v green="$green" -v dim="$dim" -v plain="$plain" '
    BEGIN { printf "  %-8s  %-17s  %s\n", "SLOT", "ADDRESS", "STATE" }
    /^#/ { for (i = 2; i <= NF; i++) column[$i] = i - 1; next }
    NF < 10 { next }
    {
      maint = $column["srv_admin_state"] % 4
      if (maint) { free++; next }
      state = $column["srv_op_state"] == 0 ? "DOWN" : "UP"
      printf "  %-8s  %-17s  %s%s%s\n", $column["srv_name"], $column["srv_addr"] ":" $column["srv_port"], green, state, plain
    }
    END { printf "  %s%-8s  %-17s  maintenance%s\n", dim, free " more", "free", plain }'
}

requests() {
  local answers
  answers=$(for _ in $(seq 12); do curl -s --max-time 5 "http://127.0.0.1:$http/" || echo "no answer"; done)
  sort <<<"$answers" | uniq -c | awk '{ n = $1; $1 = ""; printf "  %2d ×%s\n", n, $0 }'
}

start_haproxy() {
  haproxy -db -f "$work/haproxy.cfg" >>"$work/haproxy.log" 2>&1 &
  haproxy_pid=$!
  disown "$haproxy_pid"
  until ask 'show info' >/dev/null 2>&1; do
    kill -0 "$haproxy_pid" 2>/dev/null || { cat "$work/haproxy.log" >&2 && exit 1; }
    sleep 0.02
  done
}

# in_rotation COUNT: waits for so many slots to be served.
in_rotation() {
  local deadline=$(($(now) + 15000))
  until [ "$(ask 'show servers state webapp' | awk '$4 ~ /^node/ && $7 % 4 == 0' | wc -l)" = "$1" ]; do
    [ "$(now)" -lt "$deadline" ] || { echo "not within 15 seconds: $1 slots in rotation" >&2 && cat "$work"/*.log >&2 && exit 1; }
    sleep 0.01
  done
}

# start_app NAME ADDRESS: as `docker run` would, each on an address of its own.
start_app() {
  NAME=$1 ADDR=$2 APP_ADDR=$2 HAPROXY_SERVER=127.0.0.1 HAPROXY_PORT=$stats NODE_COUNT=100 \
    dist/berth target/release/examples/hello 2>>"$work/$1.log" &
  pids[$1]=$!
}

sed -e "s/127.0.0.1:9999/127.0.0.1:$stats/" -e "s/127.0.0.1:8080/127.0.0.1:$http/" \
  -e "s|/var/lib/haproxy/server-state|$work/server-state|" examples/haproxy.cfg >"$work/haproxy.cfg"
printf '1\n' >"$work/server-state"

step "1. HAProxy starts with examples/haproxy.cfg: a hundred empty slots."
start_haproxy
slots

step "2. Three containers start. Each finds its slot by itself:"
run "HAPROXY_SERVER=127.0.0.1 HAPROXY_PORT=$stats NODE_COUNT=100 berth hello"
began=$(now)
start_app alice 127.0.0.11
start_app bob 127.0.0.12
start_app carol 127.0.0.13
in_rotation 3
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
start_haproxy
began=$(now)
in_rotation 2
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
