"""A store of many records is the map that a small one is: what is put is got, in order, by whoever
opens it, also in a copy.
"""

import random
import subprocess
import sys
from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import FencedError

OLD = 34_000  # records of 1.9 KB: more than the 64 MB from which on recent records are kept apart


def key(number):
    return b"t%08d" % number


def filled(url):
    """A large store, and what it holds."""
    held = {key(7 * number): b"%08d" % number + bytes(1_880) for number in range(OLD)}
    with closing(hw.operations.open_store(url)) as store:
        for first in range(0, OLD, 17_000):
            store.commit(dict(list(held.items())[first : first + 17_000]), {})
    return held


def same(store, held, chance):
    """Single keys, a few and many, and all of them in order."""
    for count in (1, 1, 5, 15, 16, 17, 200):
        keys = [
            key(chance.randrange(7 * OLD)) if chance.random() < 0.5 else chance.choice(list(held))
            for _ in range(count)
        ]
        assert store.get(keys) == [held.get(one) for one in keys]


def scanned(store, held):
    for prefix in (b"t", key(0)[:5], key(123_400)[:7]):
        assert list(store.scan(prefix)) == sorted(
            (one, value) for one, value in held.items() if one.startswith(prefix)
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_large_store_is_a_map(seed, tmp_path):
    """Commits of any size, new keys and old ones, deletions, comparisons, and the store opened
    again and copied.
    """
    chance, url = random.Random(seed), f"lmdb:{tmp_path}/store?size=2GB"
    held = filled(url)
    store = hw.operations.open_store(url)
    recent = []
    for step in range(60):
        changes = {}
        for _ in range(chance.choice([1, 3, 40, 400, 1200])):
            one = (
                chance.choice(recent)
                if recent and chance.random() < 0.3
                else key(chance.randrange(7 * OLD))
            )
            value = chance.choice(
                [None, b"", *(b"%d" % step + bytes(chance.choice([8, 60, 900])) for _ in range(6))]
            )
            changes[one] = value
            recent.append(one)
        recent = recent[-2000:]
        expect = {one: held.get(one) for one in changes if chance.random() < 0.05}
        with pytest.raises(FencedError):
            store.commit(changes, {next(iter(changes)): b"never held"})
        store.commit(changes, expect)
        held = {one: value for one, value in (held | changes).items() if value is not None}
        assert store.get(list(changes)[:300]) == [changes[one] for one in list(changes)[:300]]
        same(store, held, chance)
        if step % 20 == 19:
            scanned(store, held)
            store.close()
            store = hw.operations.open_store(url)
    store.close()
    command = [
        sys.executable,
        "-m",
        "headwater",
        "store",
        "backup",
        str(tmp_path / "copy"),
        "--store",
        url,
    ]
    subprocess.run(command, check=True, capture_output=True)
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/copy", readonly=True)) as copied:
        scanned(copied, held)
        same(copied, held, chance)
