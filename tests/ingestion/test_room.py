"""No room for the store or the archive: ingestion ends with an error that says what to do, and
nothing is lost: it can go on later.
"""

import pytest

FILE = 'hw.appended("log.ndjson", schema=schema)'


def fails(process, *said):
    assert process.wait(60) == 1, process.log.read_text()
    text = " ".join(process.log.read_text().split())
    assert [part for part in said if part not in text] == [], text


def write(here, count):
    made = [here.event() for _ in range(count)]
    with (here.folder / "log.ndjson").open("ab") as file:
        file.write(b"".join(line + b"\n" for line, _ in made))
    here.took([n for _, n in made])


@pytest.mark.slow
def test_a_full_map(tmp_path, world_at):
    here = world_at(f"lmdb:{tmp_path / 'online'}?size=1MB", FILE)
    write(here, 60_000)
    fails(here.start("--once"), "size= limit", "lmdb:FOLDER?size=")
    here.url = here.url.replace("1MB", "1GB")
    here.once()
    here.check()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["archive", "dead_letters", "filtered"])
def test_an_archive_that_cannot_be_written(what, world_at, tmp_path):
    here = world_at(f"lmdb:{tmp_path / 'online'}", FILE, ", filter=pl.col('n') % 10 != 3")
    write(here, 2_000)
    (tmp_path / ".headwater").mkdir()
    (tmp_path / ".headwater" / what).write_text("in the way")
    fails(here.start("--once"), "cannot be written", "Nothing is lost")
    write(here, 1_000)
    (tmp_path / ".headwater" / what).unlink()
    here.once()
    left_out = {n for n in here.good if n % 10 == 3}
    here.good = [n for n in here.good if n not in left_out]
    here.check()
    assert set(here.rows("filtered")["n"]) == left_out
