"""Cost: precompute for all, on request, or streaming, from inputs that are measured, given or
assumed; and of each level of a backtest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headwater.assessing.cost_inputs import Inputs, inputs, plain
from headwater.assessing.formulas import (
    DAY,
    WAYS,
    Formula,
    Values,
    break_even,
    rows_per_window,
    streaming,
)
from headwater.assessing.level_costs import level_costs
from headwater.assessing.lift import GivenBacktest, lift_of
from headwater.assessing.locations import Locations
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.results.cost_result import Cost, CostPart, ViewCost, Way, WayName
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading, amount

CURRENCY = "USD"
_BREAK_EVEN = (
    "U",
    "f",
    "k",
    "c_b",
    "b",
    "c_o",
    "rho",
    "n_k",
    "n_r",
    "h",
    "p_cpu",
    "w",
    "g",
    "p_gb",
)


def cost(
    project: Project,
    model: str | None = None,
    locations: Locations | None = None,
    backtest: GivenBacktest | Lift | None = None,
) -> Cost:
    """The cost a day of each way to serve a model's requests.

    Args:
        project: the project.
        model: the model's name; None if the project has only one.
        locations: where to measure, and prices.
        backtest: for the cost of each of its levels; a Backtest, or a file with the output of
            `headwater backtest --json`.

    Raises:
        UsageError: an unknown model, or an invalid price file or backtest.
    """
    chosen = project.model(model)
    lift = backtest if backtest is None or isinstance(backtest, Lift) else lift_of(backtest)
    return costed(chosen, inputs(project, chosen, locations or Locations()), lift)


def costed(model: Model, values: Inputs, lift: Lift | None = None) -> Cost:
    """The cost from given inputs, and the cost of each level of a backtest."""
    x = plain(values.readings)
    ways = [way(name, values.readings) for name in WAYS]
    even: Reading = Missing(f"it needs {_list(s for s in _BREAK_EVEN if s not in x)}")
    if all(symbol in x for symbol in _BREAK_EVEN):
        even = Number(
            break_even(x),
            "1/day",
            "computed",
            "precompute for all / (k·c_o/rho·p_cpu + reads a request·g), without warm cores",
        )
    views = [
        ViewCost(name, _of_view(values.readings, own_readings))
        for name, own_readings in values.views.items()
    ]
    per_read = {
        f"{view.name} {window}": r
        for view in model.features.views
        for window, r in _rows(view.outputs, values.views[view.name]).items()
    }
    spent = Cost(
        model.name,
        CURRENCY,
        values.readings,
        ways,
        even,
        values.wasted,
        views,
        per_read,
        [],
        _sentence(ways, even, values),
    )
    if lift is None:
        return spent
    earned = lift.earned
    fresh = (
        earned.views_of(earned.chosen)
        if earned is not None and earned.chosen
        else [view.name for view in model.features.views]
    )
    return msgspec.structs.replace(spent, levels=level_costs(lift.levels, spent, fresh))


def way(name: WayName, readings: Mapping[str, Reading]) -> Way:
    """The cost a day of a way to serve: total and parts."""
    x = plain(readings)
    lacks = list(dict.fromkeys(s for formula in WAYS[name] for s in formula.symbols if s not in x))
    if lacks:
        return Way(
            name, Missing(f"it needs {_list(lacks)}; give them in the price file"), [], lacks
        )
    parts = [
        CostPart(f.name, Number(f.compute(x), f"{CURRENCY}/day", "computed", f.text), _filled(f, x))
        for f in WAYS[name]
    ]
    total = sum(component.amount.value for component in parts)
    return Way(
        name,
        Number(
            total, f"{CURRENCY}/day", "computed", " + ".join(component.name for component in parts)
        ),
        parts,
    )


def _of_view(readings: Mapping[str, Reading], own_readings: Mapping[str, Reading]) -> Reading:
    """The cost a day of streaming one view alone, including the cores that always run."""
    view_readings = {
        **readings,
        **{n: r for n, r in own_readings.items() if n in ("E", "A", "tau")},
        "v": Number(1, "views", "computed", "this view"),
    }
    x = plain(view_readings)
    lacks = [s for formula in WAYS["streaming"] for s in formula.symbols if s not in x]
    if lacks:
        return Missing(f"it needs {_list(dict.fromkeys(lacks))}")
    return Number(
        streaming(x),
        f"{CURRENCY}/day",
        "computed",
        "streaming this view alone, with the cores that always run and all state",
    )


def _rows(outputs: Sequence[object], readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Rows read for each window, for a key with the mean rate."""
    from headwater.definitions.feature_view import Feature

    E, U, tau = (readings.get(name) for name in ("E", "U", "tau"))
    per_window: dict[str, Reading] = {}
    for feature in outputs:
        assert isinstance(feature, Feature)
        if feature.window.length is None or feature.window.suffix in per_window:
            continue
        if (
            not (isinstance(E, Number) and isinstance(U, Number) and isinstance(tau, Number))
            or not U.value
        ):
            per_window[feature.window.suffix] = Missing(
                "events a day or the number of keys are not known"
            )
            continue
        rows = rows_per_window(feature.window.length / 1e6, E.value / U.value / DAY, tau.value)
        per_window[feature.window.suffix] = Number(
            rows, "rows", "computed", "min(⌈L·E/U/86400⌉, ⌈L/tau⌉), for a key with the mean rate"
        )
    return per_window


def _sentence(ways: Sequence[Way], even: Reading, values: Inputs) -> str:
    totals = [(w.total.value, w.name) for w in ways[:2] if isinstance(w.total, Number)]
    if len(totals) < 2:
        return (
            "Precomputing and serving on request cannot be compared: "
            + "; ".join(f"{w.name} needs {_list(w.lacks)}" for w in ways[:2] if w.lacks)
            + "."
        )
    (least, cheap), (most, dear) = sorted(totals)
    R = values.readings["R"]
    sentence = (
        f"{cheap[0].upper()}{cheap[1:]} costs {amount(least)} {CURRENCY} a day, {dear} "
        f"{amount(most)}"
    )
    if isinstance(even, Number) and isinstance(R, Number):
        sentence += (
            f"; they break even at {even.value:,.0f} requests a day, and you have {R.value:,.0f}"
        )
    if isinstance(values.wasted, Number):
        sentence += (
            f". Of the precomputed predictions, {values.wasted.value:.1%} are never requested"
        )
    streamed = ways[2].total
    return (
        f"{sentence}. Streaming adds {amount(streamed.value)} a day."
        if isinstance(streamed, Number)
        else f"{sentence}."
    )


def _filled(formula: Formula, x: Values) -> str:
    """A formula and the values of its symbols."""
    return f"{formula.text}: " + ", ".join(
        f"{symbol} = {x[symbol]:,.6g}" for symbol in formula.symbols
    )


def _list(names: object) -> str:
    return ", ".join(names) if not isinstance(names, str) else names  # type: ignore[arg-type]
