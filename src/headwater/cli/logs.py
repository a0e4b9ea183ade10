"""Ship the serving log, outcomes and exposures to a destination that machines share, or fetch those
of all machines from it.
"""

from __future__ import annotations

import msgspec

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb, option
from headwater.cli.screen import Screen
from headwater.errors import ConnectError, UsageError


def ship(args: Arguments, screen: Screen) -> None:
    """Convert complete segments, and ship what the destination does not have."""
    from headwater.definitions.checks import in_bytes
    from headwater.journal.conversion import ShipTo
    from headwater.journal.shipping import shipping_state
    from headwater.monitoring.log_maintenance import maintain

    folder = options.data_dir(args)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} does not exist; name the data directory of `headwater serve` with --data-dir"
        )
    maintain(
        folder, None, ShipTo(args.url, in_bytes(args.ship_buffer, "--ship-buffer")), wait=_WAIT
    )
    status(args, screen)
    state = shipping_state(folder)
    if state is not None and state.error is not None:
        raise ConnectError(
            f"{state.error}. {state.waiting} files wait in {folder}; run the same command again"
        )


def fetch(args: Arguments, screen: Screen) -> None:
    """Fetch the files that are not in the data directory yet."""
    from headwater.journal.fetching import fetch as fetched
    from headwater.monitoring.daily_statistics import update

    folder = options.data_dir(args)
    since = options.timestamp(args.since, "--since")
    with screen.working("fetching logs"):
        result = fetched(folder, args.url, since=None if since is None else since.date())
        update(folder)
    text = (
        f"{result.rows:,} rows of the serving log, {result.outcomes:,} files of outcomes, "
        f"{result.exposures:,} of exposures"
    )
    screen.show(text, msgspec.to_builtins(result))
    screen.next("headwater", "parity", "--served", "--data-dir", str(folder))


def status(args: Arguments, screen: Screen) -> None:
    """What was shipped from the data directory, what waits, and what was dropped."""
    from headwater.journal.shipping import shipping_state

    folder = options.data_dir(args)
    state = shipping_state(folder)
    if state is None:
        raise UsageError(
            f"no logs are shipped from {folder}; `headwater serve --ship-logs URL` ships them, or "
            "headwater logs ship URL"
        )
    failing = (
        ""
        if state.failing_since is None
        else f". It fails since {clock.timestamp(state.failing_since).isoformat()}: {state.error}"
    )
    text = (
        f"shipped to {state.url}: {state.rows:,} rows in {state.parts:,} files; {state.waiting:,} "
        f"files ({state.waiting_bytes:,} bytes) wait, {state.dropped:,} were dropped{failing}"
    )
    screen.show(text, msgspec.to_builtins(state))


_WAIT = 60.0  # seconds for another process that ships
_URL = Positional("url", metavar="URL", help="s3://bucket/folder, gs://, az:// or file:///folder")
_COMMON = [*options.logs(), *options.as_json()]
_STATUS = Verb(
    status,
    _COMMON,
    help="Show what was shipped from the data directory, what waits, and what was dropped.",
    summary="show what was shipped, what waits, what was dropped (default)",
    examples=["headwater logs status --data-dir data"],
)

COMMAND = Actions(
    {
        "status": _STATUS,
        "ship": Verb(
            ship,
            [
                _URL,
                option(
                    "--ship-buffer",
                    metavar="SIZE",
                    default="10GB",
                    help=(
                        "how large the serving log on this machine may be; the oldest files are "
                        "deleted, and those that were not shipped are counted (default: {default})"
                    ),
                ),
                *_COMMON,
            ],
            help=(
                "Ship what the destination does not have, once; `headwater serve --ship-logs` "
                "does it each minute."
            ),
            summary="ship once what the destination does not have",
            examples=["headwater logs ship s3://bucket/logs"],
        ),
        "fetch": Verb(
            fetch,
            [
                _URL,
                option(
                    "--since",
                    metavar="TIME",
                    help="the first day of the serving log: ISO 8601 with an offset (default: all)",
                ),
                *_COMMON,
            ],
            help=(
                "Fetch the logs of all machines into --data-dir, which watch, parity, explain, "
                "train and experiment then read. Files that are there already is not fetched "
                "again."
            ),
            summary="fetch the logs of all machines into one folder",
            examples=["headwater logs fetch s3://bucket/logs --data-dir gathered"],
        ),
    },
    help=__doc__,
    default=_STATUS,
)
