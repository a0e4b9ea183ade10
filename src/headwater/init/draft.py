"""Drafts a first features.py from an interview; comments name the answer behind each line. Nothing
in it is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.definitions.checks import DAY, HOUR, SECOND, micros
from headwater.init.interview import Interview, Signal
from headwater.init.tables import quoted
from headwater.init.write import plain

_HEAD = """\
\"\"\"Drafted from an interview by `headwater assess interview`: signals from answers, not measured.

Comments name the answer behind each line. Replace the .parquet files by your tables; then
`headwater backtest` shows which of these freshnesses pay.
\"\"\"
"""


@dataclass(frozen=True)
class FreshnessNeed:
    """The freshness that a view needs, by the answers: its code, and the reason."""

    code: str
    why: str

    @property
    def streamed(self) -> bool:
        """Whether it needs a stream."""
        return not self.code.startswith("hw.batch")


def needed_freshness(look: Signal) -> FreshnessNeed:
    """The freshness that a signal needs: the cheapest one that still helps.

    >>> needed_freshness(
    ...     Signal("spend", "payments", "card", ["amount"], [], ["1h"], "0s", "10s")
    ... ).code
    'hw.streaming("10s")'
    >>> needed_freshness(
    ...     Signal("spend", "payments", "card", ["amount"], [], ["1h"], "0s", "1d")
    ... ).code
    'hw.batch("1d", delay="4h")'
    """
    old = micros(look.fresh, "fresh")
    late = (
        f"; events are known only after {look.known}, and nothing makes a value fresher than that"
        if _late(look)
        else ""
    )
    if old < SECOND:
        return FreshnessNeed(
            "hw.on_request()",
            f"it may be no older than {look.fresh}, so it is made of the events at request "
            f"time{late}",
        )
    if old < HOUR:
        return FreshnessNeed(
            f'hw.streaming("{look.fresh}")',
            f"it helps while no older than {look.fresh}, which no hourly job can keep{late}",
        )
    if old < DAY:
        return FreshnessNeed(
            'hw.batch("1h", delay="15m")',
            f"it helps while no older than {look.fresh}: an hourly job will do{late}",
        )
    return FreshnessNeed(
        'hw.batch("1d", delay="4h")',
        f"it helps while no older than {look.fresh}: a nightly job will do{late}",
    )


def _late(look: Signal) -> bool:
    return micros(look.known, "known") > max(micros(look.fresh, "fresh"), SECOND)


def draft(interview: Interview) -> str:
    """The text of features.py."""
    names = _view_names(interview.looks)
    parts = [_HEAD]
    parts += [
        *(["from datetime import datetime\n"] if "datetime" in interview.fields.values() else []),
        "import headwater as hw\n",
    ]
    parts += [
        _source(events, [look for look in interview.looks if look.events == events])
        for events in dict.fromkeys(x.events for x in interview.looks)
    ]
    parts += [_view(look, name) for look, name in zip(interview.looks, names, strict=True)]
    parts += [_fields(interview), _labels(interview), _model(interview, names)]
    return "\n".join(parts)


def _view_names(looks: Sequence[Signal]) -> list[str]:
    """A name for the view of each look, all different."""
    names: list[str] = []
    for look in looks:
        name = plain(f"{look.key or 'all'}_{look.events}")
        same = sum(
            1 for view_name in names if view_name == name or view_name.startswith(f"{name}_look")
        )
        names.append(f"{name}_look{same + 1}" if same else name)
    return names


def _source(events: str, looks: Sequence[Signal]) -> str:
    columns = dict.fromkeys(
        column for look in looks for column in (look.key, *look.values, *look.texts) if column
    )
    slowest = max(looks, key=lambda look: micros(look.known, "known"))
    streamed = next((look for look in looks if needed_freshness(look).streamed), None)
    lines = [
        f"{_variable(events, 'events')} = hw.Source(",
        f"    {quoted(plain(events))},",
        (
            f"    history=hw.parquet({quoted(f'{events}.parquet')}),  # past events: put the path "
            "of your table here"
        ),
    ]
    if streamed is not None:
        lines += [
            f"    # {_in_words(streamed)} must not be older than {streamed.fresh}",
            "    stream=hw.push(),  # hw.kafka(topic) where there is one",
        ]
    lines += [
        '    timestamp_field="at",  # when an event happened: put the name of its column here',
        (
            f"    known_after={quoted(slowest.known)},  # as answered: how long after it happened "
            "an event is known"
        ),
        f"    select=[{', '.join(map(quoted, columns))}],",
        ")\n",
    ]
    return "\n".join(lines)


def _view(look: Signal, name: str) -> str:
    need = needed_freshness(look)
    values = ["hw.count()"]
    values += (
        [
            f"hw.mean({', '.join(map(quoted, look.values))})",
            f"hw.sum({', '.join(map(quoted, look.values))})",
        ]
        if look.values
        else []
    )
    values += [f"hw.last({', '.join(map(quoted, look.texts))})"] if look.texts else []
    return "\n".join(
        [
            f"# {_in_words(look)}: {need.why}",
            f"{_variable(name, 'view')} = hw.FeatureView(",
            f"    {quoted(name)},",
            f"    source={_variable(look.events, 'events')},",
            f"    keys=[{quoted(look.key) if look.key else ''}],",
            f"    windows=[{', '.join(map(quoted, look.over))}],  # as answered: windows",
            f"    features=[{', '.join(values)}],",
            f"    freshness={need.code},",
            ")\n",
        ]
    )


def _fields(interview: Interview) -> str:
    lines = [
        f"    hw.RequestField({quoted(name)}, {kind})," for name, kind in interview.fields.items()
    ]
    if not lines:
        return (
            "fields: list[hw.RequestField] = []  # as answered: nothing else is known with the "
            "request\n"
        )
    return "\n".join(
        ["fields = [  # as answered: known when the prediction is asked for", *lines, "]\n"]
    )


def _labels(interview: Interview) -> str:
    columns = dict.fromkeys(
        [*interview.keys, *interview.fields, interview.asked_at, interview.predict]
    )
    return "\n".join(
        [
            "labels = hw.Labels(",
            f"    {quoted(plain(interview.predict) + '_labels')},",
            (
                '    table=hw.parquet("labels.parquet"),  # past requests with their outcomes: put '
                "the path of your table here"
            ),
            f"    select=[{', '.join(map(quoted, columns))}],",
            f"    timestamp_field={quoted(interview.asked_at)},",
            f"    label={quoted(interview.predict)},",
            (
                f"    known_after={quoted(interview.known_after)},  # as answered; often it "
                "matters more than how fresh features are"
            ),
            ")\n",
        ]
    )


def _model(interview: Interview, names: Sequence[str]) -> str:
    views = ", ".join(_variable(name, "view") for name in names)
    service = f"hw.FeatureService({quoted(plain(interview.name) + '_v1')}, [{views}, *fields])"
    return "\n".join(
        [
            (
                f"model = hw.Model({quoted(plain(interview.name) + '_model')}, "
                f"task={quoted(interview.kind)}, features={service}, labels=labels)"
            ),
            f"project = hw.Project({quoted(plain(interview.name))}, [model])\n",
        ]
    )


def _variable(name: str, kind: str) -> str:
    return f"{plain(name)}_{kind}"


def _in_words(look: Signal) -> str:
    """The signal in the user's words, in one line."""
    return quoted(" ".join(look.at.split()))
