#!/bin/sh
# Write constraints.txt anew: the latest versions that install together, for every extra. Then write the hashes of all files of these versions.
# Run the tests afterwards.
#
#     scripts/pin.sh             new versions, and their hashes
#     scripts/pin.sh hashes      only the hashes, after constraints.txt or pyproject.toml was edited
#
# requirements.txt                every extra, what tests and docs need, and what builds the wheel
# deploy/requirements.txt         what the image installs
# deploy/requirements-build.txt   what builds the wheel that the image installs
set -eu

cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check"

if [ "${1:-}" != hashes ]; then
    $pip install --quiet --editable '.[dev,docs]'
    $pip install --quiet --no-deps ISLP # only its data files are read; its code would bring torch
    {
        echo '# The versions that headwater is tested with, for every extra. Made by scripts/pin.sh.'
        $pip freeze --exclude-editable | tr '[:upper:]' '[:lower:]' | tr _ - | LC_ALL=C sort -t= -k1,1
    } >"$folder/constraints.txt"
    mv "$folder/constraints.txt" constraints.txt
fi

$pip install --quiet uv
echo 'hatchling' >"$folder/build.in"
grep -i '^islp==' constraints.txt >"$folder/islp.in"

# The hashes of every file of each version, for all platforms and Python 3.11.5 and newer (a library of the docs needs that).
hashed() {
    "$folder/venv/bin/uv" pip compile --quiet --universal --python-version 3.11.5 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --constraint constraints.txt "$@"
}

{
    echo '# constraints.txt with the hashes of all files. Made by scripts/pin.sh.'
    hashed --extra dev --extra docs pyproject.toml "$folder/build.in"
    hashed --no-deps "$folder/islp.in"
} >"$folder/requirements.txt"
{
    echo '# What the image installs, with the hashes of all files. Made by scripts/pin.sh.'
    hashed --extra avro --extra kafka --extra objects --extra otel --extra postgres --extra protobuf --extra redis pyproject.toml
} >"$folder/image.txt"
{
    echo '# What builds the wheel that the image installs, with the hashes of all files. Made by scripts/pin.sh.'
    hashed "$folder/build.in"
} >"$folder/build.txt"
mv "$folder/requirements.txt" requirements.txt
mv "$folder/image.txt" deploy/requirements.txt
mv "$folder/build.txt" deploy/requirements-build.txt
