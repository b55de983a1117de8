#!/usr/bin/env bash
# Makes the images that the container tests run, without any registry: Debian packages, unpacked and
# imported. Prints a line `NAME IMAGE` for each. An image's tag is a hash of what made it, so what
# exists is not made again. DEBIAN_MIRROR names another archive than this machine's apt uses.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

# NAME SUITE PACKAGES COMMAND
list() {
  local haproxy='ENTRYPOINT ["haproxy","-W","-db","-f"]'
  echo 'debian bookworm base-files,coreutils,dash CMD ["sh"]'
  echo "haproxy-2.6 bookworm base-files,haproxy $haproxy"
  echo "haproxy-3.0 trixie base-files,haproxy $haproxy"
  echo "haproxy-3.2 forky base-files,haproxy $haproxy"
  echo 'bind bookworm base-files,bind9 ENTRYPOINT ["named","-g","-n","1","-c"]'
}

# make NAME SUITE PACKAGES COMMAND: unpacks without configuring, which is all that a server needs.
make() {
  local name=$1 suite=$2 packages=$3 command=$4 id
  id=$(
    as_root mmdebstrap --quiet --variant=extract --include="$packages" \
      --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
      --aptopt='APT::Sandbox::User "root"' --aptopt='Acquire::Check-Valid-Until "false"' \
      "$suite" - "$mirror" 2>"$scratch/$name" | docker import --change "$command" -
  ) || {
    cat "$scratch/$name" >&2
    return 1
  }
  case $name in
    haproxy-*)
      local version
      version=$(docker run --rm --network none --entrypoint haproxy "$id" -v | sed -n 1p)
      [[ $version == *" version ${name#haproxy-}."* ]] || {
        echo "$suite has another HAProxy than ${name#haproxy-}: $version" >&2
        return 1
      }
      ;;
  esac
  docker tag "$id" "$(image "$name")"
}

tag=$(sha256sum scripts/images.sh | cut -c -12)
image() { echo "berth-test-$1:$tag"; }

need_docker >&2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
exec 9>"${TMPDIR:-/tmp}/berth-images.lock"
flock 9

present=" $(docker image ls --format '{{.Repository}}:{{.Tag}}' | tr '\n' ' ')"
jobs=()
while read -r name suite packages command; do
  [[ $present != *" $(image "$name") "* ]] || continue
  [ ${#jobs[@]} != 0 ] || {
    need mmdebstrap debian-archive-keyring >&2
    mirror=$(debian_mirror)
  }
  echo "making $(image "$name")" >&2
  make "$name" "$suite" "$packages" "$command" 9>&- >&2 &
  jobs+=($!)
done < <(list)
for job in "${jobs[@]}"; do wait "$job"; done
list | while read -r name _; do echo "$name $(image "$name")"; done
