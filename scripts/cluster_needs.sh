#!/bin/sh
# What `make test-cluster` needs on this machine: names what is missing, and fails then.
set -eu

missing=
for program in java mvn redis-server; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] || {
    printf 'tests of clusters need:%s. On Debian and Ubuntu: apt-get install default-jre-headless maven redis-server postgresql\n' "$missing" >&2
    exit 1
}
