"""How far back the windows of a view see."""

from __future__ import annotations

from headwater.definitions.feature_view import FeatureView

FAR = 2**60
"""A time that never comes, microseconds."""


def reach(view: FeatureView) -> int | None:
    """How far before T the longest window of a view begins, microseconds; None is without end."""
    reaches = [feature.window.reach for feature in view.outputs]
    return (
        None
        if None in reaches
        else max(window_reach for window_reach in reaches if window_reach is not None)
    )


def out_of_reach(view: FeatureView, at: int) -> int:
    """From when on no window of a view reaches events of before `at`, microseconds; 0 for an `at`
    of 0.

    >>> from headwater.testing.examples import visiting
    >>> import headwater as hw
    >>> (view,) = visiting(hw.streaming("2s")).models[0].features.views
    >>> out_of_reach(view, 1_000_000) - 1_000_000 == reach(view), out_of_reach(view, 0)
    (True, 0)
    """
    furthest = reach(view)
    return 0 if not at else FAR if furthest is None else at + furthest
