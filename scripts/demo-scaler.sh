#!/usr/bin/env bash
# Shows the loop closed: load on HAProxy, sessions rise, the scaler clones containers, they register
# themselves, and after the load they drain and go. Sets up what is missing, leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh
. scripts/show.sh

need haproxy wrk
need_docker
scripts/build.sh agent scaler

# All that is made carries this name.
name=demo-$$
work=$(mktemp -d)
haproxy_pid= scaler_pid= calm_pid= peak_pid=
clean_up() {
  trap '' INT TERM
  local pid containers
  for pid in $calm_pid $peak_pid $scaler_pid; do kill "$pid" 2>/dev/null || true; done
  for pid in $calm_pid $peak_pid $scaler_pid; do wait "$pid" 2>/dev/null || true; done
  containers=$(docker ps -aq --filter "label=service_name=$name")
  # shellcheck disable=SC2086 # one word for each container
  [ -z "$containers" ] || docker rm -f $containers >/dev/null || true
  docker network rm "$name" >/dev/null 2>&1 || true
  docker image rm -f "$name" >/dev/null 2>&1 || true
  [ -z "$haproxy_pid" ] || kill -9 "$haproxy_pid" 2>/dev/null || true
  rm -rf "$work"
}
# Bash runs it on SIGTERM too. On Ctrl-C what runs just then fails, or the next step ends it all: left
# to itself, bash now and then ends without cleaning up, and a trap that exits cuts it short.
trap clean_up EXIT
trap 'interrupted=1' INT

fail() { printf '%s\n' "$1" >&2 && tail -n 20 "$work"/*.log >&2 && exit 1; }

step "1. An image of two files, and a network in which HAProxy has an address."
build_hello "$work/hello"
cp dist/berth "$work/berth"
run "tar -c berth hello | docker import --change 'ENTRYPOINT [\"/berth\", \"--\"]' --change 'CMD [\"/hello\"]' - $name"
tar -C "$work" -c berth hello | docker import \
  --change 'ENTRYPOINT ["/berth", "--"]' --change 'CMD ["/hello"]' - "$name" >/dev/null
docker network create "$name" >/dev/null
gateway=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' "$name")
endpoint=${DOCKER_HOST:-$(docker context inspect -f '{{.Endpoints.docker.Host}}')}
stats=$(port 9999 "$gateway") http=$(port 8080)
stats_at=$gateway/$stats
sed -e "s/127.0.0.1:9999/$gateway:$stats/" -e "s/127.0.0.1:8080/127.0.0.1:$http/" \
  -e '/server-state/d' examples/haproxy.cfg >"$work/haproxy.cfg"
start_haproxy "$work/haproxy.cfg" "$work/haproxy.log"
printf '  image   %s\n' "$(docker image ls --format '{{.Size}}' "$name")"
printf '  haproxy 127.0.0.1:%s, stats socket %s:%s\n' "$http" "$gateway" "$stats"

step "2. The first container is started by hand."
run "docker run --label service_name=$name -e HAPROXY_SERVER=$gateway -e HAPROXY_PORT=$stats -e NODE_COUNT=100 $name"
docker run -d --name "${name}_1" --network "$name" -e "HAPROXY_SERVER=$gateway" \
  -e "HAPROXY_PORT=$stats" -e NODE_COUNT=100 --label "service_name=$name" "$name" >/dev/null
deadline=$(($(now) + 30000))
until [ "$(in_rotation)" = 1 ]; do
  [ "$(now)" -lt "$deadline" ] || { docker logs "${name}_1" >&2; fail "it did not register; does a firewall keep containers from $gateway:$stats?"; }
  sleep 0.05
done
slots

step "3. The scaler starts: about ten sessions for each container."
cat >"$work/scaler.toml" <<CONFIG
[store]
url = "sqlite:$work/scaler.db"
[loop]
interval = "1s"
[[docker]]
name = "local"
host = "$endpoint"
[[haproxy]]
name = "edge"
servers = ["$gateway:$stats"]
# No reload: no process before this one still has sessions.
settle = "1s"

[[policy]]
policy_name = "demo"
service_name = "$name"
naming_convention = "${name}_"
autoscale_min_instance = 1
autoscale_max_instance = 8
start_time = "1s"
down = { window = "8s", idle = "8s", limit_count = 2, limit_period = "4s" }

[[policy.metric]]
name = "sessions"
source = "edge"
backend = "webapp"
column = "scur"
target = 10
CONFIG
sed -n '/^\[\[policy\]\]/,$p' "$work/scaler.toml" | sed "s/^/  $dim/; s/$/$plain/"
run "berth-scaler run"
dist/berth-scaler run --config "$work/scaler.toml" 2>>"$work/scaler.log" &
scaler_pid=$!

# load CONNECTIONS SECONDS FILE: requests that take 20 ms each, one after the other on each.
load() {
  exec wrk -t 1 -c "$1" -d "${2}s" --timeout 10s "http://127.0.0.1:$http/sleep/20" >"$3" 2>&1
}

containers() { docker ps -q --filter "label=service_name=$name" | wc -l; }
sessions() {
  ask 'show stat webapp 4 -1' |
    awk -F, '/^#/ { for (i = 1; i <= NF; i++) if ($i == "scur") c = i; next } NF > 1 { n += $c } END { print n + 0 }'
}

# watch_until CONTAINERS SECONDS: a line whenever something has changed.
watch_until() {
  local seen last= deadline=$(($(now) + $2 * 1000))
  while :; do
    seen="$(containers) $(in_rotation)"
    if [ "$seen" != "$last" ]; then
      # shellcheck disable=SC2086 # two words
      printf "  %5s s  %2s sessions  %s containers, %s in rotation\n" \
        "$((($(now) - began) / 1000))" "$(sessions)" $seen
      last=$seen
    fi
    [ "$seen" != "$1 $1" ] || return 0
    kill -0 "$scaler_pid" 2>/dev/null || fail "the scaler ended"
    [ "$(now)" -lt "$deadline" ] || fail "not within $2 s: $1 containers"
    sleep 0.2
  done
}

step "4. Load: four clients all the time, and fifty more for twenty seconds."
run "wrk -c 4 …; wrk -c 50 -d 20s http://127.0.0.1:$http/sleep/20"
began=$(now)
load 4 300 "$work/calm" &
calm_pid=$!
load 50 20 "$work/peak" &
peak_pid=$!
watch_until 5 30
slots
wait "$peak_pid" || fail "$(cat "$work/peak")"
peak_pid=

step "5. The fifty are gone. What is no longer needed drains, leaves HAProxy and stops."
watch_until 1 120
slots

step "6. What the clients saw:"
kill -INT "$calm_pid"
wait "$calm_pid" || true
calm_pid=
failed=0
for client in peak calm; do
  requests=$(awk '/requests in/ { print $1 }' "$work/$client")
  [ "${requests:-0}" -gt 0 ] || fail "$(cat "$work/$client")"
  if grep -E 'Socket errors|Non-2xx' "$work/$client"; then failed=1; fi
  printf '  %s: %s requests\n' "$client" "$requests"
done
[ "$failed" = 0 ] || fail "some failed"
printf '  %snone failed%s\n' "$green" "$plain"

step "7. What the audit says:"
history() { dist/berth-scaler history --config "$work/scaler.toml" "$@"; }
deadline=$(($(now) + 10000))
while history --json | grep -q '"outcome":"intended"'; do
  [ "$(now)" -lt "$deadline" ] || fail "an act without an end"
  sleep 0.1
done
kill "$scaler_pid"
wait "$scaler_pid" || fail "the scaler did not end well"
scaler_pid=
run "berth-scaler history"
history | sed 's/^/  /'
