#!/usr/bin/env bash
# Shows the same with a real Traefik: apps register themselves by way of Redis, one leaves, one is killed, and
# Redis comes back with nothing. Sets up what is missing, leaves nothing running. Where no Traefik can be had,
# it says so and is done.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh
. scripts/show.sh

if ! scripts/traefik.sh >/dev/null; then
  echo "no Traefik, Redis or etcd can be had here: part three is left out"
  exit 0
fi
need curl
[ -x dist/berth ] || scripts/build.sh agent

work=$(mktemp -d)
declare -A pids=()
redis_pid= traefik_pid=
clean_up() {
  trap '' INT TERM
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  for pid in $traefik_pid $redis_pid; do kill -9 "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'interrupted=1' INT

build_hello "$work/hello"
# Loopback addresses of its own, so that several may run at once.
net=127.0.$(($$ % 250 + 1))
redis=$(port 6379 "$net.2") http=$(port 8000 "$net.2") api=$(port 8081 "$net.2") app=$(port 3128 "$net.21")

fail() { printf '%s\n' "$1" >&2 && tail -n 20 "$work"/*.log >&2 && exit 1; }

# until_true WHAT COMMAND…: waits for it.
until_true() {
  local what=$1 deadline=$(($(now) + 15000))
  shift
  until "$@" >/dev/null 2>&1; do
    unless_interrupted
    [ "$(now)" -lt "$deadline" ] || fail "not within 15 seconds: $what"
    sleep 0.01
  done
}

start_redis() {
  redis-server --port "$redis" --bind "$net.2" --save '' --dir "$work" --notify-keyspace-events KEA >"$work/redis.log" 2>&1 &
  redis_pid=$!
  until_true "Redis answers" redis-cli -h "$net.2" -p "$redis" ping
}

# servers: what Traefik sends requests to.
servers() {
  curl -s --max-time 5 "http://$net.2:$api/api/http/services/web@redis" | grep -o '"url":"[^"]*"' | cut -d'"' -f4 | sort
}
shown() { [ "$(servers | wc -l)" = "$1" ]; }

requests() {
  local answers
  answers=$(for _ in $(seq 12); do curl -s --max-time 5 "http://$net.2:$http/" || echo "no answer"; done)
  sort <<<"$answers" | uniq -c | awk '{ n = $1; $1 = ""; printf "  %2d ×%s\n", n, $0 }'
}

# start_app NAME ADDRESS: as `docker run` would, each on an address of its own.
start_app() {
  NAME=$1 ADDR=$2 APP_ADDR=$2 PORT=$app APP_PORT=$app TRAEFIK_KV=redis://$net.2:$redis TRAEFIK_SERVICE=web \
    TRAEFIK_API=$net.2:$api TRAEFIK_RULE='PathPrefix(`/`)' TRAEFIK_ENTRYPOINTS=web TRAEFIK_LEASE=3s \
    dist/berth "$work/hello" 2>>"$work/$1.log" &
  pids[$1]=$!
}

step "1. Redis and Traefik start. Traefik reads Redis and knows of no service."
start_redis
target/traefik/bin/traefik --global.checknewversion=false --global.sendanonymoususage=false --ping=true \
  --entrypoints.web.address="$net.2:$http" --entrypoints.traefik.address="$net.2:$api" --api.insecure=true \
  --providers.redis.endpoints="$net.2:$redis" --providers.providersthrottleduration=50ms >"$work/traefik.log" 2>&1 &
traefik_pid=$!
until_true "Traefik answers" curl -sf --max-time 5 "http://$net.2:$api/ping"

step "2. Three containers start, each with its address as its key, and the route:"
run "TRAEFIK_KV=redis://$net.2:$redis TRAEFIK_SERVICE=web TRAEFIK_RULE='PathPrefix(\`/\`)' berth hello"
began=$(now)
start_app alice "$net.21"
start_app bob "$net.22"
start_app carol "$net.23"
until_true "three servers" shown 3
echo "  all shown by Traefik after $(($(now) - began)) ms"
servers | sed 's/^/  /'
requests

step "3. Bob is stopped. The app gets its signal when Traefik sends no more requests."
run "kill -TERM ${pids[bob]}"
began=$(now)
kill -TERM "${pids[bob]}"
wait "${pids[bob]}" || code=$?
echo "  gone and stopped after $(($(now) - began)) ms, exit code ${code:-0}"
unset "pids[bob]"
requests

step "4. Redis is killed and comes back with nothing. Traefik serves on, and both register again."
run "kill -9 $redis_pid; redis-server"
kill -9 "$redis_pid"
while kill -0 "$redis_pid" 2>/dev/null; do sleep 0.01; done
requests
start_redis
began=$(now)
until_true "both keys" bash -c "[ \$(redis-cli -h $net.2 -p $redis --scan --pattern '*/url' | wc -l) = 2 ]"
echo "  both are back in Redis after $(($(now) - began)) ms"

step "5. Carol's container is killed without a word. Her lease of three seconds ends it."
run "kill -9 ${pids[carol]}"
app_pid=$(cat "/proc/${pids[carol]}/task/${pids[carol]}/children")
kill -9 "${pids[carol]}"
# shellcheck disable=SC2086 # one word for each process
kill -9 $app_pid 2>/dev/null || true
unset "pids[carol]"
began=$(now)
until_true "one server" shown 1
echo "  gone after $(($(now) - began)) ms"
requests

step "6. What Alice's agent said all the while:"
sed 's/^/  /' "$work/alice.log"
