"""Expected calibration error: how far predicted shares lie from observed ones.

Over ten bins of equal mass, the mean of |mean score - outcome rate|; a tie
that a bin's edge cuts is split in proportion (see `Ranked.at`). The error
cannot fall below 0, so resamples, which carry noise twice, lie a little above
the plain value: read its interval as wide on the upper side.

Source: Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities
using Bayesian binning", AAAI 2015; equal-mass bins as in Nixon et al.,
"Measuring calibration in deep learning", 2019.
"""

from __future__ import annotations

import numpy as np

from headwater.metrics.metric import Family, Floats, Metric, ScoredRows, ratio
from headwater.metrics.score_order import ranked

BINS = 10


def bins(rows: ScoredRows) -> tuple[Floats, Floats]:
    """Summed score and positives of each equal-mass bin, highest scores first; each float64 (10, 1
    + resamples).

    >>> from headwater.metrics.metric import Blocks
    >>> y, score = np.tile([1.0, 0.0], 10), np.tile([0.75, 0.25], 10)
    >>> predicted, observed = bins(ScoredRows("a", y, score, Blocks.whole(20)))
    >>> predicted[:, 0].round(2).tolist()
    [1.5, 1.5, 1.5, 1.5, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    >>> observed[:, 0].round(2).tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    positives, scores = ranked(rows).at([edge / BINS for edge in range(1, BINS + 1)])
    return np.diff(scores, axis=0, prepend=0), np.diff(positives, axis=0, prepend=0)


def _calibration(rows: ScoredRows) -> Floats:
    # `probability` refuses scores outside 0 to 1
    count = rows.total(np.ones_like(rows.probability))
    predicted, observed = bins(rows)
    return ratio(np.abs(predicted - observed).sum(axis=0), count)


# 0.005 absolute: a share of a small error would call noise a lift
FAMILY = Family((Metric("calibration", "binary", _calibration, higher_is_better=False),))
