#!/bin/sh
# Makes the certificates of these tests anew: an authority, a server of this machine and a client that it knows, for a
# hundred years; servers whose certificates are their own authorities, one of them past its dates. The keys open nothing.
set -eu
cd "$(dirname "$0")"
pair() { # NAME.END SUBJECT EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "${1%.*}.key" -subj "/CN=$2" -out request
    printf '%s\n' "$3" >extensions
    openssl x509 -req -in request -CA ca.crt -CAkey authority.key -days 36500 -extfile extensions -out "$1"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout authority.key -subj "/CN=Hone's tests" \
    -days 36500 -out ca.crt
pair server.cert localhost "subjectAltName = DNS:localhost, IP:127.0.0.1, IP:0.0.0.0"
pair client.cert "a client" "extendedKeyUsage = clientAuth"
alone() { # NAME DAYS, 0: it is over when it is made
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "/CN=localhost" -out request
    printf '%s\n' "subjectAltName = DNS:localhost" "basicConstraints = critical, CA:TRUE" >extensions
    openssl x509 -req -in request -signkey "$1.key" -days "$2" -extfile extensions -out "$1.crt"
}
alone alone 36500
alone expired 0
rm -f request extensions authority.key ./*.srl
