#!/usr/bin/env bash
# Captures what HAProxy's stats socket says, for the tests that parse it and for the rules that rely
# on it: tests/transcripts/VERSION/*.txt, a line "> COMMANDS" before each answer.
#
# Usage: scripts/capture-transcripts.sh [HAPROXY_BINARY...]   (default: every version at hand)
set -euo pipefail
cd "$(dirname "$0")/.."

binaries=("$@")
if [ ${#binaries[@]} = 0 ]; then
    binaries=(haproxy)
    for binary in target/haproxy/*/haproxy; do
        [ -x "$binary" ] && binaries+=("$binary")
    done
fi

scratch=$(mktemp -d)
pid=
cleanup() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

write_config() {
    cat >"$scratch/haproxy.cfg" <<CONFIG
global
    stats socket $scratch/stats.sock level admin
    stats socket $scratch/reader.sock level user
    server-state-file $scratch/state

defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    load-server-state-from-file global

# Checks that nobody answers: 127.0.0.0/8 refuses at once where no one listens.
backend literal
    server-template node 1-8 127.0.0.1:3128 check inter 50ms fall 1 disabled
backend named
    server-template node 1-8 localhost:3128 check inter 1s fall 1 init-addr last,libc,none disabled
backend six
    server-template node 1-2 ::1:3128 disabled
backend noport
    server-template node 1-2 127.0.0.1 disabled
backend static
    balance static-rr
    server-template node 1-2 127.0.0.1:3128 disabled
backend hashed
    balance source
    server-template node 1-2 127.0.0.1:3128 disabled
CONFIG
}

# 2.6 may drop commands whose sender has closed his half of the connection, hence the pause.
talk() { # SOCKET COMMANDS
    { echo "$2" && sleep 0.1; } | socat -t5 - "$scratch/$1"
}

start() {
    "$binary" -f "$scratch/haproxy.cfg" >"$scratch/log" 2>&1 &
    pid=$!
    for _ in $(seq 200); do
        talk stats.sock 'show info' >/dev/null 2>&1 && return
        sleep 0.02
    done
    cat "$scratch/log" >&2
    return 1
}

stop() {
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
}

ask() { # [reader.sock:]COMMANDS
    local socket=stats.sock commands=$1
    case $1 in reader.sock:*) socket=reader.sock commands=${1#*:} ;; esac
    echo "> $commands"
    talk "$socket" "$commands"
}

quiet() {
    ask "$1" >/dev/null
}

until_shows() { # COMMAND PATTERN
    for _ in $(seq 250); do
        ask "$1" | grep -q "$2" && return
        sleep 0.02
    done
    echo "never showed $2: $1" >&2
    return 1
}

record() { # NAME COMMANDS...
    local file="$out/$1.txt" commands
    shift
    for commands; do ask "$commands"; done | sed 's/[[:space:]]*$//' >>"$file"
}

pending() { quiet "set server $1 weight 0%; set server $1 addr $2 port 3128"; }
serving() { quiet "set server $1 addr $2 port 3128; set server $1 weight 100%; set server $1 state ready"; }
release() { quiet "set server $1 state maint; set server $1 addr 0.0.0.0 port 3128; set server $1 weight 100%"; }

fill() { # BACKEND: one slot for each state that a slot can be left in
    pending "$1/node1" 127.0.5.1
    serving "$1/node2" 127.0.5.2
    quiet "set server $1/node3 addr 127.0.5.3 port 3128; set server $1/node3 state maint"
    serving "$1/node4" 127.0.5.4
    quiet "set server $1/node4 state drain"
    serving "$1/node5" 127.0.5.5
    release "$1/node5"
    serving "$1/node6" 127.0.5.6
    quiet "set server $1/node6 weight 0%"
}

for binary in "${binaries[@]}"; do
    version=$("$binary" -v | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
    out=tests/transcripts/$version
    rm -rf "$out" && mkdir -p "$out"
    write_config
    : >"$scratch/state"

    start
    record fresh 'show servers state' 'show servers state literal' 'show stat literal 4 1' \
        'show stat noport 4 1' 'show stat six 4 1' 'show stat literal 4 99' 'show info typed'
    record refusals 'set server literal/node99 state ready' 'set server nowhere/node1 state ready' \
        'set server literal/node1 addr foo port 80' 'set server literal/node1 addr 127.0.0.9 port foo' \
        'show servers state nowhere' 'show stat nowhere 4 1' \
        'reader.sock:set server literal/node1 state ready'
    record claim \
        'set server literal/node8 weight 0%; set server literal/node8 addr 127.0.5.8 port 3128; show servers state literal' \
        'show servers state literal' \
        'set server literal/node8 weight 100%; set server literal/node8 state ready' \
        'show servers state literal; show stat literal 4 8'
    until_shows 'show stat literal 4 8' ',DOWN,'
    record claim-down 'show servers state literal' 'show stat literal 4 8' \
        'set server literal/node8 state maint; set server literal/node8 weight 0%; set server literal/node8 addr 127.0.5.9 port 3128' \
        'show servers state literal' \
        'set server literal/node8 weight 100%; set server literal/node8 state ready; show servers state literal; show stat literal 4 8'
    record release \
        'set server literal/node8 state maint; set server literal/node8 addr 0.0.0.0 port 3128; set server literal/node8 weight 100%' \
        'show servers state literal' 'show stat literal 4 8' \
        'set server six/node1 addr 2001:db8::5 port 3128; set server six/node1 state ready' 'show servers state six' 'show stat six 4 1' \
        'set server six/node1 state maint; set server six/node1 addr :: port 3128; set server six/node1 weight 100%' 'show servers state six' \
        'set server six/node2 addr 127.0.5.7 port 3128' 'show servers state six' \
        'set server literal/node7 addr ::1 port 3128' 'show servers state literal'
    record static-weights \
        'set server static/node1 weight 0%; set server static/node1 weight 100%; set server static/node1 weight 50%' \
        'set server hashed/node1 weight 0%; set server hashed/node1 weight 100%; set server hashed/node1 weight 50%' \
        'set server static/node1 weight 0%; set server static/node1 addr 127.0.5.1 port 3128' \
        'set server static/node1 weight 100%; set server static/node1 state ready' 'show servers state static' 'show stat static 4 1'
    fill literal
    fill named
    record before-restart 'show servers state literal' 'show servers state named'
    talk stats.sock 'show servers state' >"$scratch/state"
    stop

    start
    record state-file 'show servers state literal' 'show servers state named' 'show stat named 4 2' 'show stat named 4 5'
    # The saved state of slots in rotation is what the first failed check ends.
    until_shows 'show stat named 4 2' ',DOWN,'
    record state-file-later 'show servers state literal' 'show servers state named'
    stop
    echo "captured $out"
done
