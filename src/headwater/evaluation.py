"""What `hw.Evaluation` and rankings are made of, and the computations around a backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.backtesting.attribution import Attribution as Attribution
    from headwater.backtesting.attribution import attribution as attribution
    from headwater.backtesting.backtest import Backtest as Backtest
    from headwater.backtesting.promise import promised as promised
    from headwater.definitions.evaluations import Acknowledgement as Acknowledgement
    from headwater.definitions.evaluations import Refits as Refits
    from headwater.definitions.evaluations import Tuning as Tuning
    from headwater.definitions.evaluations import rolling as rolling
    from headwater.definitions.level import ladder as ladder
    from headwater.definitions.model import Scores as Scores
    from headwater.definitions.ranking import NegativeSampling as NegativeSampling
    from headwater.metrics.card_precision import card_precision as card_precision
    from headwater.metrics.custom import metric as metric

_HOMES = {
    "headwater.backtesting.attribution": "Attribution attribution",
    "headwater.backtesting.backtest": "Backtest",
    "headwater.backtesting.promise": "promised",
    "headwater.definitions.evaluations": "Acknowledgement Refits Tuning rolling",
    "headwater.definitions.level": "ladder",
    "headwater.definitions.model": "Scores",
    "headwater.definitions.ranking": "NegativeSampling",
    "headwater.metrics.card_precision": "card_precision",
    "headwater.metrics.custom": "metric",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
