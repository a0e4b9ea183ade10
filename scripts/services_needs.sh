#!/bin/sh
# What `make test-services` needs on this machine: fetches what it can, and names what is missing; tests of that are skipped.
set -eu

cd "$(dirname "$0")/.."
has() { command -v "$1" >/dev/null 2>&1; }

missing=
has java || missing="$missing default-jre-headless"
has mvn || missing="$missing maven"
has redis-server || missing="$missing redis-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || has initdb || missing="$missing postgresql"
has chromium || has chromium-browser || has google-chrome || missing="$missing chromium"
has nginx || [ -x /usr/sbin/nginx ] || missing="$missing nginx"
has openssl || missing="$missing openssl"
has npm || missing="$missing nodejs npm"
[ -z "$missing" ] || printf 'left out is what needs:%s. On Debian and Ubuntu: apt-get install%s\n' "$missing" "$missing"

if has java && has mvn; then
    scripts/kafka.sh jars
    scripts/spark.sh install
fi
scripts/oracles.sh # libraries that estimates of experiments are compared with, each in an environment of its own
if has npm; then scripts/node_packages.sh; fi
