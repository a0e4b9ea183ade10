"""Acknowledgements: whether each can answer a finding, before the run, and what it answered, after
it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from headwater.definitions.definition import stack_level
from headwater.definitions.evaluations import Acknowledgement
from headwater.definitions.feature_service import Enriched
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.errors import HeadwaterWarning, UsageError, nearest
from headwater.results.audit_result import DELIVERY, AcknowledgedBy, AuditFinding


def refuse_unknown_check(acknowledgement: Acknowledgement, checks: Iterable[str]) -> None:
    """Refuse an acknowledgement of a check that does not exist.

    Raises:
        UsageError: it does not.
    """
    names = {*checks, DELIVERY}
    if acknowledgement.check not in names:
        raise UsageError(
            f"acknowledged {acknowledgement.check!r} of {acknowledgement.subject!r}: no check has "
            "this name; "
            f"{nearest(acknowledgement.check, names)}"
        )


def cannot_match(
    acknowledgement: Acknowledgement, model: Model, levels: Mapping[str, Level]
) -> str:
    """Why no finding of this model can have the subject of an acknowledgement; empty where one
    can.
    """
    if acknowledgement.check == DELIVERY:
        of_model = acknowledgement.subject.startswith(
            (f"{model.name}, week of ", f"{model.name} at ")
        )
        return (
            ""
            if of_model
            else (
                f"a withdrawal is named like '{model.name}, week of 2024-06-03', as the page "
                "prints it"
            )
        )
    names = _subjects(model, levels)
    return (
        ""
        if acknowledgement.subject in names
        else (
            f"model {model.name!r} has nothing of this name; "
            f"{nearest(acknowledgement.subject, names)}"
        )
    )


def _subjects(model: Model, levels: Mapping[str, Level]) -> set[str]:
    """What a finding may be of: sources, features, fields of the request, the labels, the model,
    and steps to its levels.
    """
    features = model.features
    sources = {
        name for view in (*features.views, *features.views_within) for name in _sources(view.source)
    }
    steps = {f"step to {name}" for name in levels}
    fields = {
        *(field.name for field in features.request_fields),
        *(made.name for made in features.request_features),
    }
    return {
        *sources,
        *features.feature_names,
        *fields,
        f"labels {model.labels.name}",
        "the model",
        *steps,
    }


def _sources(source: Source) -> Iterable[str]:
    """A source, and the sources that it enriches."""
    yield source.name
    while isinstance(source.history, Enriched):
        source = source.history.base
        yield source.name


def check_before(
    acknowledged: Sequence[Acknowledgement],
    checks: Iterable[str],
    model: Model,
    levels: Mapping[str, Level],
) -> None:
    """Refuse an acknowledgement of no check, and warn of one of another model: one evaluation may
    serve several.

    Raises:
        UsageError: no check has its name.
    """
    for acknowledgement in acknowledged:
        refuse_unknown_check(acknowledgement, checks)
        if why := cannot_match(acknowledgement, model, levels):
            _warn(
                f"the acknowledgement of {acknowledgement.check!r} of {acknowledgement.subject!r} "
                "answers nothing "
                f"here: {why}"
            )


def check_after(
    findings: Sequence[AuditFinding],
    acknowledged: Sequence[Acknowledgement],
    model: Model,
    levels: Mapping[str, Level],
) -> None:
    """Warn of an acknowledgement that answered no question of this backtest: its finding is absent,
    or is a LEAK.
    """
    for acknowledgement in acknowledged:
        answered = [
            finding
            for finding in findings
            if (acknowledgement.check, acknowledgement.subject) == (finding.check, finding.subject)
        ]
        if any(finding.acknowledged is not None for finding in answered) or cannot_match(
            acknowledgement, model, levels
        ):
            continue
        why = (
            "is of a LEAK, which no acknowledgement lifts"
            if answered
            else f"matches no finding of this backtest; {_open_questions(findings)}"
        )
        _warn(
            f"the acknowledgement of {acknowledgement.check!r} of {acknowledgement.subject!r} {why}"
        )


def _open_questions(findings: Sequence[AuditFinding]) -> str:
    questions = "; ".join(
        f"{finding.check} | {finding.subject}" for finding in findings if finding.asks
    )
    return f"questions are: {questions}" if questions else "none are open"


def _warn(message: str) -> None:
    warnings.warn(message, HeadwaterWarning, stacklevel=stack_level())


def with_acknowledgement(
    finding: AuditFinding, acknowledged: Sequence[Acknowledgement]
) -> AuditFinding:
    """The finding with its acknowledgement, if it is a question, or a withdrawal, that a person
    answered.
    """
    answers = [
        acknowledgement
        for acknowledgement in acknowledged
        if (acknowledgement.check, acknowledgement.subject) == (finding.check, finding.subject)
    ]
    if not answers or finding.severity in ("LEAK", "EMPTY"):
        return finding
    return structs.replace(
        finding, acknowledged=AcknowledgedBy(answers[-1].reason, answers[-1].author)
    )
