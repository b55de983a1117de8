#!/usr/bin/env bash
# What people write instead of Berth, as the baseline of the benchmarks: the first slot in
# maintenance wins, nothing is verified, nothing is seen after the start.
set -u
ask() { printf '%s\n' "$1" | socat -t 5 - "TCP:$HAPROXY_SERVER:$HAPROXY_PORT"; }
backend=${HAPROXY_BACKEND:-webapp}
addr=${APP_ADDR:-$(hostname -i)}

"$@" &
app=$!
slot=
leave() {
  [ -z "$slot" ] || ask "set server $backend/$slot state maint" >/dev/null
  kill -TERM "$app"
}
trap leave TERM INT

until (exec 3<>"/dev/tcp/$addr/$APP_PORT") 2>/dev/null; do sleep 0.05; done
slot=$(ask "show servers state $backend" | awk '!slot && $7 % 2 == 1 { slot = $4 } END { print slot }')
ask "set server $backend/$slot addr $addr port $APP_PORT" >/dev/null
ask "set server $backend/$slot state ready" >/dev/null

wait "$app"
wait "$app"
