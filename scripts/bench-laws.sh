#!/usr/bin/env bash
# Plays loads through the scaler's default law and through models of its peers.
#   scripts/bench-laws.sh [FILE…]   made up loads, then files of requests per second (see simulate --help)
# TIMES multiplies what is in the files (8), START is what a replica takes to start in seconds (20),
# PARTS are the parts of a file to play, as options of simulate with a semicolon between them (the first
# six sevenths, and the last).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh
need gcc libc6-dev
need_rust

cargo build --quiet --locked --release -p berth-scaler
play() { target/release/berth-scaler simulate --start "${START:-20}" "$@"; }
play
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for file in "$@"; do
  if [[ $file == *.gz ]]; then
    # A table is headed by its file's name.
    plain=$dir/$(basename "$file" .gz)
    zcat "$file" > "$plain"
    file=$plain
  fi
  # Of the tweets the law was tuned on the first six days; the seventh was played after it was fixed.
  IFS=';' read -ra parts <<<"${PARTS:---to 0.857142857;--warm-up 0.857142857}"
  for part in "${parts[@]}"; do
    for sight in "" "--delay 15" "--missing 0.05" "--noise 0.3" "--served"; do
      echo "${file##*/} ${part} ${sight:-seen as it is}"
      # shellcheck disable=SC2086
      play --times "${TIMES:-8}" $part $sight "$file"
    done
    # shellcheck disable=SC2086
    play --times "${TIMES:-8}" $part --frontier "$file"
  done
done
echo "the laws shown what was served"
play --served
