"""The types of predictions."""

from __future__ import annotations

from typing import Literal

How = Literal["precomputed", "on_request", "default"]
"""How a prediction was made: precomputed and looked up; computed by the request; or the model's
default, for lack of a score.
"""

Score = float | list[float]
"""A number, or of a multiclass model one for each class."""
