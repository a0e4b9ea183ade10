#!/bin/sh
# Packages of npm that tests run against the service, into $HEADWATER_NODE (default build/node under the checkout).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
node=${HEADWATER_NODE:-$root/build/node}
wanted='@openfeature/core@1.12.0 @openfeature/ofrep-core@0.1.4 @openfeature/ofrep-provider@0.1.3 @openfeature/server-sdk@1.23.0'

if [ "$(cat "$node/.complete" 2>/dev/null)" = "$wanted" ]; then exit; fi
command -v npm >/dev/null 2>&1 || {
    echo 'node_packages.sh: npm is not installed; on Debian and Ubuntu: apt-get install nodejs npm' >&2
    exit 1
}
rm -rf "$node"
mkdir -p "$node"
# shellcheck disable=SC2086 # $wanted is words
npm install --silent --no-audit --no-fund --prefix "$node" $wanted
echo "$wanted" >"$node/.complete"
echo "made $node"
