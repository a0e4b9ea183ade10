#!/bin/sh
# The core of the tests on every Python after the oldest one that headwater is for: those that this machine has, in an environment each.
#
#     scripts/other_pythons.sh             an interpreter that is missing is named, and no error
#     scripts/other_pythons.sh newest      only the newest of those that this machine has
set -eu

cd "$(dirname "$0")/.."
core='tests/journal tests/definitions tests/kernel tests/online tests/cli/test_models.py'
versions='3.12 3.13 3.14'

find_python() {
    for candidate in "python$1" "/usr/bin/python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python "$HOME"/.pyenv/versions/"$1"/bin/python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c "import sys, ensurepip, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if [ "${1:-}" = newest ]; then
    for version in $versions; do
        if find_python "$version" >/dev/null; then newest=$version; fi
    done
    versions=${newest:-$versions}
fi

for version in $versions; do
    if ! python=$(find_python "$version"); then
        echo "Python $version is not on this machine: nothing was tested on it"
        continue
    fi
    echo "Python $version: $python"
    venv=build/ci/venv-$version
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . pytest pytest-xdist hypothesis
    # shellcheck disable=SC2086 # $core is several folders
    HEADWATER_NO_SKIPS=0 "$venv/bin/python" -m pytest -q -n 2 $core # without any extra: what needs one is skipped
done
