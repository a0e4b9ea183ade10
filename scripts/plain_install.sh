#!/bin/sh
# Build the wheel, and run every verb where nothing but it is installed, outside of the checkout.
#
#     scripts/plain_install.sh       PYTHON chooses the interpreter (default: python3)
set -eu

cd "$(dirname "$0")/.."
checkout=$PWD
place=$(mktemp -d "${TMPDIR:-/tmp}/headwater-plain.XXXXXX")
trap 'rm -rf "$place"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$place/wheels" .
wheel=$(echo "$place"/wheels/headwater-*.whl)
"$place/venv/bin/python" -m pip install --quiet --constraint constraints.txt "$wheel"

mkdir "$place/project"
cd "$place/project" # nothing of the checkout is on the path
cp "$checkout/scripts/every_verb.py" "$place/every_verb.py"
"$place/venv/bin/python" "$place/every_verb.py" "$place/project"
