#!/bin/sh
# Libraries that tests compare ours with, each in a virtual environment of its own, since they need old or many packages.
#
#     scripts/oracles.sh              all of them, into $HEADWATER_ORACLES (default build/oracles under the checkout)
#     scripts/oracles.sh gbstats      only one
#
# An environment is made once. Uses uv where it is on PATH, else python3 -m venv and pip; PYTHON chooses the interpreter. gbstats 0.8.0
# needs numpy 1 and pandas 1, which have wheels up to Python 3.11.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
oracles=${HEADWATER_ORACLES:-$root/build/oracles}
python=${PYTHON:-python3}

fail() {
    printf 'oracles.sh: %s\n' "$@" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

needs() {
    case $1 in
    gbstats) echo 'gbstats==0.8.0 numpy==1.26.4 pandas==1.5.3 scipy==1.11.4' ;;
    savvi) echo 'savvi==0.3.1 numpy==2.2.6 scipy==1.15.3 matplotlib==3.10.8' ;; # matplotlib is imported and not declared
    statsmodels) echo 'statsmodels==0.15.0 numpy==2.2.6 pandas==2.3.3 scipy==1.15.3' ;;
    cluster-experiments) echo 'cluster-experiments==0.31.0' ;;
    feast) echo 'feast==0.67.0' ;; # its repositories are read by it
    *) fail "there is no oracle '$1'; there are gbstats, savvi, statsmodels, cluster-experiments and feast" ;;
    esac
}

make_one() {
    name=$1
    wanted=$(needs "$name")
    home=$oracles/$name
    if [ "$(cat "$home/.complete" 2>/dev/null)" = "$wanted" ]; then return; fi
    rm -rf "$home"
    mkdir -p "$oracles"
    # shellcheck disable=SC2086 # $wanted is words
    if has uv; then
        uv venv --quiet --python "$python" "$home"
        uv pip install --quiet --python "$home/bin/python" $wanted
    else
        "$python" -m venv "$home"
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$home/bin/python" -m pip install --quiet --prefer-binary $wanted
    fi
    echo "$wanted" >"$home/.complete"
    echo "made $home"
}

if [ $# -eq 0 ]; then set -- gbstats savvi statsmodels cluster-experiments feast; fi
for name in "$@"; do make_one "$name"; done
