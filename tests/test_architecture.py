"""The three walks of docs/architecture.md name files that exist, each once."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WALKS = re.split(
    r"^## ", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), flags=re.MULTILINE
)[1:]


@pytest.mark.parametrize("walk", WALKS, ids=[walk.partition("\n")[0] for walk in WALKS])
def test_a_walk_visits_each_file_once(walk):
    rows = [line for line in walk.splitlines() if line.startswith("|")]
    stations = [name for row in rows for name in re.findall(r"`((?:\w+/)+\w+\.py)`", row)]
    assert len(stations) > 10
    assert [name for name in stations if not (ROOT / "src" / "headwater" / name).is_file()] == []
    assert sorted({name for name in stations if stations.count(name) > 1}) == []
