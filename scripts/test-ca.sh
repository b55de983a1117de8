#!/bin/sh
# Makes a certificate authority for trying out TLS to the stats socket, a certificate for HAProxy
# and one for the containers. For tests and laptops: nothing guards the authority's key.
#
# Usage: scripts/test-ca.sh [DIRECTORY] [NAME…]
#
# DIRECTORY (default: tls) gets
#   ca.pem                 HAPROXY_TLS_CA, and ca-file of HAProxy's bind line
#   haproxy.pem            certificate and key: crt of HAProxy's bind line
#   agent.pem, agent.key   HAPROXY_TLS_CERT, HAPROXY_TLS_KEY
# HAProxy's certificate is for NAME… (default: localhost 127.0.0.1 ::1), which must hold what
# HAPROXY_SERVER gives. What exists is left alone, so a removed file is made anew by the same
# authority. DAYS (default: 825) is how long a certificate is valid, AGENT_NAME (default: agent) the
# name in the containers' one. SERVER_USAGE=serverAuth,clientAuth is what an etcd that wants client
# certificates needs: its gateway speaks to itself.
set -eu

dir=${1:-tls}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- localhost 127.0.0.1 ::1

names=
for name in "$@"; do
    case $name in
        *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
        *) kind=DNS ;;
    esac
    names=${names:+$names,}$kind:$name
done

command -v openssl > /dev/null || { echo "test-ca.sh: openssl is not installed" >&2; exit 1; }
umask 077
mkdir -p "$dir"

# Says what openssl said only if it failed.
quietly() { said=$("$@" 2>&1) || { echo "$said" >&2; exit 1; }; }

key() { quietly openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# certificate NAME COMMON_NAME EXTENSION…: signs NAME.pem for NAME.key.
certificate() {
    file=$dir/$1 subject=/CN=$2
    shift 2
    key "$file.key"
    quietly openssl req -new -key "$file.key" -subj "$subject" -out "$file.csr"
    printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "$@" \
        > "$file.ext"
    quietly openssl x509 -req -in "$file.csr" -sha256 -days "${DAYS:-825}" -extfile "$file.ext" \
        -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -out "$file.pem"
    rm "$file.csr" "$file.ext"
}

if [ ! -e "$dir/ca.pem" ]; then
    key "$dir/ca.key"
    quietly openssl req -x509 -new -key "$dir/ca.key" -days 3650 -subj "/CN=berth test CA" \
        -addext keyUsage=critical,keyCertSign,cRLSign -out "$dir/ca.pem"
fi
if [ ! -e "$dir/haproxy.pem" ]; then
    certificate haproxy "$1" "extendedKeyUsage=${SERVER_USAGE:-serverAuth}" "subjectAltName=$names"
    cat "$dir/haproxy.key" >> "$dir/haproxy.pem"
    rm "$dir/haproxy.key"
fi
if [ ! -e "$dir/agent.pem" ]; then
    certificate agent "${AGENT_NAME:-agent}" extendedKeyUsage=clientAuth
fi
