"""What predictions are, for those who make them and those who read them."""

from __future__ import annotations

from typing import Literal

How = Literal["precomputed", "on_request", "default"]
"""Made ahead and looked up; made when it was asked for; or the model's own default, since there was nothing to make it of."""

Score = float | list[float]
"""A number, or of a multiclass model one for each class."""
