#!/usr/bin/env bash
# What Berth costs: size, memory, CPU, start. Fails when a budget is broken.
#   scripts/budgets.sh [PAIRS]   runs of `true`, wrapped by Berth and by tini in turn (default: 300)
#
# The start-up is a time: BUDGETS_TIMING=print prints it and does not let it fail.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

pairs=${1:-300}
need haproxy openssl tini perl procps
out=target/budgets
broken=0

# row WHAT FIGURE UNIT [BUDGET]: one line; too much is counted.
row() {
  local mark=
  if [ -n "${4:-}" ]; then
    mark="at most $4"
    awk "BEGIN { exit !($2 > $4) }" && mark+="  BROKEN" && broken=$((broken + 1))
  fi
  printf '%-52s %12s %-6s %s\n' "$1" "$2" "$3" "$mark"
}

build() {
  FEATURES=$2 OUT=$out/$1 scripts/build.sh agent >/dev/null
  stat -c %s "$out/$1/berth"
}

# hold BINARY [tls]: runs it around an app on a real HAProxy until it holds a slot and longer; sets
# anon, pss (kB), cpu (percent of a core) and threads.
hold() {
  local binary=$1 tls=${2:-} work stats app berth haproxy before after deadline=$((SECONDS + 20))
  work=$(mktemp -d)
  stats=$(port) app=$(port)
  local vars=("HAPROXY_SERVER=127.0.0.1" "HAPROXY_PORT=$stats" "NODE_COUNT=100" "APP_PORT=$app")
  if [ -n "$tls" ]; then
    scripts/test-ca.sh "$work/tls" 127.0.0.1
    vars+=("HAPROXY_TLS_CA=$work/tls/ca.pem" "HAPROXY_TLS_CERT=$work/tls/agent.pem" "HAPROXY_TLS_KEY=$work/tls/agent.key")
  fi
  echo 1 >"$work/server-state"
  sed -e "s|/etc/haproxy/tls|$work/tls|g; s|/run/haproxy|$work|; s|/var/lib/haproxy|$work|" \
    -e "s|127.0.0.1:8080|127.0.0.1:$(port)|; s|bind :9999|bind 127.0.0.1:$stats|; s|127.0.0.1:9999|127.0.0.1:$stats|" \
    "examples/haproxy${tls:+-tls}.cfg" >"$work/haproxy.cfg"
  haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
  haproxy=$!
  env -i PATH="$PATH" PORT="$app" ADDR=127.0.0.1 "${vars[@]}" "$binary" "$out/hello/hello" 2>"$work/log" &
  berth=$!
  until grep -q "in rotation" "$work/log"; do
    [ "$SECONDS" -lt "$deadline" ] || { cat "$work"/*log >&2 && exit 1; }
    sleep 0.05
  done
  # The full reads after a claim are over, and the verify goes its round.
  sleep 3
  before=$(cut -d' ' -f1 "/proc/$berth/schedstat")
  sleep 20
  after=$(cut -d' ' -f1 "/proc/$berth/schedstat")
  cpu=$(awk "BEGIN { printf \"%.3f\", ($after - $before) / 20e9 * 100 }")
  anon=$(awk '/^Pss_Anon:/ { print $2 }' "/proc/$berth/smaps_rollup")
  pss=$(awk '/^Pss:/ { print $2 }' "/proc/$berth/smaps_rollup")
  threads=$(awk '/^Threads:/ { print $2 }' "/proc/$berth/status")
  kill "$berth"
  wait "$berth" || true
  kill -9 "$haproxy"
  wait "$haproxy" 2>/dev/null || true
  rm -rf "$work"
}

# port: one that nobody listens on.
port() {
  local port
  while port=$((10000 + RANDOM % 20000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# start: medians of `true` in microseconds: by itself, wrapped by tini, wrapped by Berth; and the median
# of the ratios of neighbours.
start() {
  perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e '
    my ($pairs, $berth) = @ARGV;
    my $run = sub {
      my $began = clock_gettime(CLOCK_MONOTONIC);
      my $pid = fork // die;
      if (!$pid) { exec @_ or die }
      waitpid $pid, 0;
      die "@_: $?" if $?;
      return (clock_gettime(CLOCK_MONOTONIC) - $began) * 1e6;
    };
    my (@bare, @tini, @berth, @ratio);
    for (1 .. $pairs) {
      push @bare, $run->("/bin/true");
      push @tini, $run->("tini", "-s", "--", "/bin/true");
      push @berth, $run->($berth, "--", "/bin/true");
      push @ratio, $berth[-1] / $tini[-1];
    }
    my $median = sub { (sort { $a <=> $b } @_)[@_ / 2] };
    printf "%.0f %.0f %.0f %.2f\n", $median->(@bare), $median->(@tini), $median->(@berth), $median->(@ratio);
  ' "$1" "$out/all/berth"
}

OUT=$out/hello scripts/build.sh hello >/dev/null
all=$(build all tls)
no_tls=$(build no-tls none)

# Registration for Traefik costs 0.22 MB so far; 0.1 is meant, which brings this to 2200000.
row "size, with everything" "$all" bytes 2300000
row "size, without TLS" "$no_tls" bytes 1500000
row "  of which TLS" "$((all - no_tls))" bytes
hold "$out/all/berth"
row "anonymous memory while holding a slot" "$anon" kB 160
# 1.8 MB, and room for which pages of the file the kernel happens to map; nearly all of it is file.
row "PSS of a single instance" "$pss" kB 2150
row "CPU while holding" "$cpu" % 0.1
row "threads" "$threads" "" 1
hold "$out/all/berth" tls
row "anonymous memory, mutual TLS" "$anon" kB 160
row "PSS of a single instance, mutual TLS" "$pss" kB 2400
row "CPU while holding, mutual TLS" "$cpu" % 0.2
hold "$out/no-tls/berth"
row "anonymous memory, built without TLS" "$anon" kB 160
row "PSS of a single instance, built without TLS" "$pss" kB 1950
read -r bare tini berth ratio <<<"$(start "$pairs")"
row "true, by itself" "$bare" µs
row "true, wrapped by tini" "$tini" µs
row "true, wrapped by Berth" "$berth" µs
limit=0.9
[ "${BUDGETS_TIMING:-}" != print ] || limit=
row "  Berth / tini, pair by pair" "$ratio" "" "$limit"
[ "$broken" = 0 ] || { echo "$broken budgets are broken" >&2 && exit 1; }
