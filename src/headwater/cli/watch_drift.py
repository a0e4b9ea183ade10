"""`headwater watch`: how far the served features are from the training features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments
from headwater.cli.screen import Screen
from headwater.errors import DataError

if TYPE_CHECKING:
    from headwater.definitions.model import Model
    from headwater.results.drift_result import DriftResult


def drifted(args: Arguments, model: Model, screen: Screen) -> DriftResult | None:
    """Compute the drift, and keep it for `status`, metrics and the console; None, with a warning,
    where it cannot be computed.
    """
    from headwater.models.latest_results import LATEST_DRIFT
    from headwater.models.registry import ModelRegistry
    from headwater.monitoring.drift import drift

    try:
        with screen.working("comparing features"):
            result = drift(
                model,
                args.level,
                data_dir=options.data_dir(args),
                models=args.models,
                at=options.timestamp(args.at, "--at"),
            ).result
    except DataError as error:
        screen.warning(f"drift is not shown: {error}")
        return None
    LATEST_DRIFT.write(ModelRegistry(args.models), result.model, result.level, result)
    return result
