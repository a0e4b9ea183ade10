"""Overview: a card for each model."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.console.console_context import ConsoleContext
from headwater.console.page_types import ConsoleRequest


def overview(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """The models of the project."""
    return {"models": [model.name for model in context.project.models], "runs": len(context.runs())}
