"""Withdrawn recommendations of a model as findings of its backtest's audit: production delivered
less than a former backtest promised.

`watch` keeps them in the model registry. A later backtest of the model, and an assessment, read
them there: the withdrawal stands first on their pages, in place of a verdict, until a version with
a new promise is current, or a person acknowledges it with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headwater.backtesting.audit.acknowledgements import with_acknowledgement
from headwater.definitions.evaluations import Acknowledgement
from headwater.definitions.level import AS_DEFINED
from headwater.errors import DataError
from headwater.models.promises import deliveries
from headwater.models.registry import ModelRegistry
from headwater.pages import delivery_words
from headwater.results.audit_result import DELIVERY, AuditFinding, AuditResult, CheckNotRun
from headwater.results.backtest_result import BacktestResult
from headwater.results.promise_result import DeliveryResult

_NOT_RUN = "no week that was served under a promise of this model has been judged"
_REMEDY = (
    "Check first: a leak that no audit can see, then values that are served differently "
    "(`headwater parity --served`), then a change in the data. Acknowledge it when it is found, "
    "or promote a version with a new promise"
)


@dataclass(frozen=True)
class KnownDeliveries:
    """What the model registry holds of a model: the latest comparison at each level, and whether it
    has versions of the model at all.
    """

    model: str
    results: Sequence[DeliveryResult]
    served: bool

    def on(
        self, result: BacktestResult, acknowledged: Sequence[Acknowledgement] = ()
    ) -> BacktestResult:
        """Replace the backtest's findings on withdrawals by the present ones. Nothing changes where
        the model has no version.
        """
        if not self.served:
            return result
        audit = result.audit
        findings = [finding_of(delivery) for delivery in self.results if delivery.withdrawn]
        findings = [with_acknowledgement(finding, acknowledged) for finding in findings]
        judged = any(delivery.judged for delivery in self.results)
        changed = AuditResult(
            [*findings, *(finding for finding in audit.findings if finding.check != DELIVERY)],
            [
                *(name for name in audit.checks_run if name != DELIVERY),
                *([DELIVERY] if judged else []),
            ],
            [
                *(check for check in audit.checks_not_run if check.check != DELIVERY),
                *([] if judged else [CheckNotRun(DELIVERY, _NOT_RUN)]),
            ],
            audit.cannot_see,
            audit.seconds,
        )
        return msgspec.structs.replace(result, audit=changed)


def known_deliveries(model: str, models: str | Path | None) -> KnownDeliveries:
    """What the registry holds of a model; nothing without a registry.

    Args:
        model: its name.
        models: the folder of fitted models; None is `models` in headwater's home.

    Raises:
        DataError: a file of the registry cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     known_deliveries("churn", folder)
    KnownDeliveries(model='churn', results=[], served=False)
    """
    registry = ModelRegistry(models)
    try:
        served = any(name == model for name, _ in registry.variants())
        results = (
            [result for result in deliveries(registry) if result.promise.model == model]
            if served
            else []
        )
    except OSError as error:
        raise DataError(
            f"the model registry at {registry.folder} cannot be read: {error}; it may hold a "
            f"withdrawn recommendation of {model!r}"
        ) from error
    return KnownDeliveries(model, results, served)


def finding_of(delivery: DeliveryResult) -> AuditFinding:
    """A withdrawal as a finding; its subject names the model, the level and the week, so that a
    later one is not acknowledged with it.
    """
    at_level = "" if delivery.served_level == AS_DEFINED else f" at {delivery.served_level}"
    subject = f"{delivery.promise.model}{at_level}, week of {delivery.since}"
    return AuditFinding(
        DELIVERY, "WITHDRAWN", subject, delivery_words.withdrawal(delivery), _REMEDY, math.nan
    )
