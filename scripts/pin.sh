#!/bin/sh
# Write constraints.txt anew: the latest versions that install together, for every extra. Run the tests afterwards.
set -eu

cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
{
    echo '# The versions that headwater is tested with, for every extra. Made by scripts/pin.sh.'
    "$folder/venv/bin/python" -m pip freeze --disable-pip-version-check --exclude-editable | tr '[:upper:]' '[:lower:]' | tr _ - | LC_ALL=C sort -t= -k1,1
} >"$folder/constraints.txt"
mv "$folder/constraints.txt" constraints.txt
