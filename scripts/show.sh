#!/usr/bin/env bash
# Sourced by the demos: how they speak, and how they look at HAProxy.

bold= dim= green= plain=
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'; fi

# A Ctrl-C sets `interrupted`; this ends the demo then.
unless_interrupted() { [ -z "${interrupted:-}" ] || exit 130; }

step() {
  unless_interrupted
  printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}
run() { printf '%s  $ %s%s\n' "$dim" "$*" "$plain"; }
now() { date +%s%3N; }

# port WANTED [ADDRESS]: that one, or a free one near it.
port() {
  local port=$1
  while (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

# ask COMMAND: over the stats socket at $stats_at (HOST/PORT), as containers do it.
ask() {
  { exec 3<>"/dev/tcp/$stats_at"; } 2>/dev/null || return
  printf '%s\n' "$1" >&3
  timeout 5 cat <&3
  exec 3>&-
}

# slots: those that hold a container, and how many do not.
slots() {
  ask 'show servers state webapp' | awk -v green="$green" -v dim="$dim" -v plain="$plain" '
    BEGIN { printf "  %-8s  %-17s  %s\n", "SLOT", "ADDRESS", "STATE" }
    /^#/ { for (i = 2; i <= NF; i++) column[$i] = i - 1; next }
    NF < 10 { next }
    {
      maint = $column["srv_admin_state"] % 4
      if (maint) { free++; next }
      taken = 1
      state = $column["srv_op_state"] == 0 ? "DOWN" : "UP"
      printf "  %-8s  %-17s  %s%s%s\n", $column["srv_name"], $column["srv_addr"] ":" $column["srv_port"], green, state, plain
    }
    END { printf "  %s%-8s  %-17s  maintenance%s\n", dim, free (taken ? " more" : ""), "free", plain }'
}

# in_rotation: how many slots HAProxy serves.
in_rotation() { ask 'show servers state webapp' | awk '$4 ~ /^node/ && $7 % 4 == 0 { n++ } END { print n + 0 }'; }

# start_haproxy CONFIG LOG: sets haproxy_pid once it answers.
start_haproxy() {
  haproxy -db -f "$1" >>"$2" 2>&1 &
  haproxy_pid=$!
  disown "$haproxy_pid"
  until ask 'show info' >/dev/null 2>&1; do
    unless_interrupted
    kill -0 "$haproxy_pid" 2>/dev/null || { cat "$2" >&2 && exit 1; }
    sleep 0.02
  done
}

# build_hello PATH: examples/hello.rs as one static file.
build_hello() {
  rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols examples/hello.rs -o "$1"
}
