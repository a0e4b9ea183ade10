"""Files whose dates have two meanings: `headwater init` asks."""

import polars as pl


def test_dates_of_either_order_are_asked_about(tmp_path, run):
    """Where no day is above 12, 03/04/2026 has two meanings; a wrong one moves events by months."""
    at = pl.Series(
        [
            f"{month:02}/{day:02}/2026 10:00:00"
            for month in (1, 2)
            for day in range(1, 13)
            for _ in range(30)
        ]
    )
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i % 7}" for i in range(len(at))],
            "at": at,
            "late": [i % 3 == 0 for i in range(len(at))],
        }
    )
    frame.write_csv(tmp_path / "events.csv")
    call = [
        "init",
        "events.csv",
        "--label",
        "late",
        "--request-time",
        "at",
        "--known-after",
        "1d",
        "--timezone",
        "UTC",
    ]
    done = run(*call)
    assert (
        done.returncode,
        "such as 01/02/2026 10:00:00 in at, which may be both: --dates day-first" in done.stderr,
    ) == (2, True)
    for order, last in (
        ("month-first", "2026-01-01 to 2026-02-12"),
        ("day-first", "2026-01-01 to 2026-12-02"),
    ):
        done = run(*call, "--dates", order, "--force")
        assert done.returncode == 0, done.stderr
        assert last in (tmp_path / "features.py").read_text(encoding="utf-8")
