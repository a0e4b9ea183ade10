"""What running services make of a version that has become current, printed by `train` and
`models`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.models.registry import ModelRegistry, Version
    from headwater.models.running_services import ServingProcess


def show_services(
    registry: ModelRegistry, project: str, version: Version, screen: Screen
) -> Sequence[ServingProcess]:
    """Wait until the running services have looked at a version, print what they answer with, and
    give them.

    Where one goes on with another version, its line is a warning.
    """
    from headwater.models.promotion import sentences, taken_up

    processes = taken_up(registry, project, version)
    for line, follows in sentences(processes, version):
        (screen.say if follows else screen.warning)(line)
    return processes
