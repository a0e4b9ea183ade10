"""The cost model: its worked examples to the digits, inputs that are measured on planted data, and
where each number is from.
"""

import json
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.assessing import formulas
from headwater.assessing.cost import cost, costed
from headwater.assessing.cost_inputs import Inputs, inputs
from headwater.results.measurement import Missing, Number
from tests.assessing.conftest import ago, payments, project, source, view
from tests.journal.conftest import about, one

P = {"p_cpu": 0.04 / 3600, "w": 0.625e-6, "g": 0.125e-6, "p_gb": 0.25}
A = P | {
    "U": 31e6,
    "f": 1,
    "k": 1000,
    "c_b": 2e-6,
    "b": 2048,
    "c_o": 4e-6,
    "n_k": 3,
    "n_r": 2,
    "rho": 0.3,
    "m": 2,
    "h": 0.99,
    "R": 622_000,
}
C = P | {"E": 100e6, "c_e": 5e-5, "v": 5, "A": 200_000, "K": 4, "S": 50e9, "tau": 0}


# ---------------------------------------------------------------- worked examples


def test_example_a_precomputing():
    assert [
        round(part(A), 2)
        for part in (formulas.scoring, formulas.batch_writes, formulas.batch_storage)
    ] == [0.69, 38.75, 0.53]
    assert round(formulas.batch(A), 2) == 39.97
    assert round(formulas.batch_writes(A) / formulas.batch(A), 2) == 0.97


def test_example_a_on_request():
    assert A["R"] * A["k"] * A["c_o"] / A["rho"] == pytest.approx(8293, abs=1)
    assert round(formulas.serving(A), 2) == 1.92
    assert formulas.reads_per_request(A) == pytest.approx(16)
    assert round(formulas.reads(A), 2) == 1.24
    assert round(formulas.on_request(A), 2) == 3.16


@pytest.mark.parametrize(
    ("h", "costs", "even"),
    [
        (0, (80.1, 379.2, 3902.8), 0.32),
        (0.95, (6.3, 22.9, 221.6), 5.59),
        (0.99, (3.2, 7.9, 66.6), 18.61),
        (1, (2.4, 4.2, 27.8), 44.50),
    ],
)
def test_example_a_by_hit_rate(h, costs, even):
    assert (
        tuple(round(formulas.on_request(A | {"h": h, "R": R}), 1) for R in (622_000, 3e6, 31e6))
        == costs
    )
    assert round(formulas.break_even(A | {"h": h}) / 1e6, 2) == even


def test_at_the_break_even_both_cost_the_same_without_warm_cores():
    R = formulas.break_even(A)
    assert formulas.on_request(A | {"R": R, "m": 0}) == pytest.approx(formulas.batch(A))


def test_example_b_waste():
    assert formulas.waste([150_000] * 4, 3e6) == pytest.approx(0.95)
    assert formulas.waste([37_500] * 4, 3e6) == pytest.approx(0.9875)


@pytest.mark.parametrize(
    ("tau", "money", "hot"),
    [(0, 316.8, 604_800), (60, 316.8, 10_080), (300, 184.3, 2_016), (3600, 19.3, 168)],
)
def test_example_c_streaming_by_tile(tau, money, hot):
    assert round(formulas.stream_cpu(C), 2) == 3.84
    assert round(formulas.stream_state(C), 2) == 0.42
    assert round(formulas.streaming(C | {"tau": tau}), 1) == money
    assert formulas.rows_per_window(7 * 86_400, 20 / 86_400, tau) == 140
    assert formulas.rows_per_window(7 * 86_400, 1, tau) == hot


def test_example_d_micro_batches():
    assert round(formulas.always_on(0.76)) == 547
    assert round(formulas.micro_batch(0.76, run=4, every=15)) == 146


# ---------------------------------------------------------------- what comes of it


def given(values):
    return {name: Number(value, "", "given", "planted") for name, value in values.items()}


def of(values):
    made = project(view(source(payments(10))))
    readings = {name: given(values).get(name, Missing("not planted")) for name in formulas.SYMBOLS}
    return costed(
        made.models[0], Inputs(readings, Number(0.98, "share", "measured", "planted"), {"card": {}})
    )


def test_parts_add_up_and_break_even_and_sentence():
    found = of(A | C)
    for one_way in found.ways:
        assert one_way.total.value == pytest.approx(
            sum(part.amount.value for part in one_way.parts)
        )
    assert found.break_even.value == pytest.approx(formulas.break_even(A))
    assert found.sentence.startswith("On request costs 3.16 USD a day, precompute for all 40")
    assert "98.0% are never requested" in found.sentence


def test_how_often_a_job_runs_has_a_price():
    """1,000,000 events a day of 50,000 keys, one view. Daily: 50 s of CPU and 50,000 rows; hourly:
    24 runs of 41,667 events each.
    """
    x = {"E": 1e6, "U": 5e4, "v": 1, "c_e": 5e-5, "b": 1024, "p_cpu": 1e-5, "w": 1e-6}
    assert formulas.job(x, 1) == pytest.approx(50 * 1e-5 + 50_000 * 1e-6)
    assert formulas.job(x, 24) == pytest.approx(50 * 1e-5 + 1_000_000 * 1e-6)
    timed = {**x, "s_run": 30.0}  # as a run was timed: each costs 30 s, however few events it has
    assert formulas.job(timed, 24) == pytest.approx(24 * 30 * 1e-5 + 1_000_000 * 1e-6)


# ---------------------------------------------------------------- measurements


def test_requests_and_waste_of_labelled_requests():
    """48 hourly requests by 2 of 4 cards, in two daily windows."""
    midnight = ago(0).replace(hour=0, minute=0, second=0, microsecond=0)
    asked = pl.DataFrame(
        {
            "id": [f"r{n}" for n in range(48)],
            "card": [f"c{n % 2}" for n in range(48)],
            "at": [midnight - timedelta(hours=48 - n) for n in range(48)],
            "fraud": [n % 3 == 0 for n in range(48)],
        }
    )
    made = project(view(source(payments(400, cards=4)), freshness=hw.batch("1d")), labels=asked)
    found = inputs(made, made.models[0], hw.operations.Locations())
    assert found.readings["R"].value == pytest.approx(48 / 47 * 24)
    assert found.readings["R"].origin == "measured"
    assert found.readings["U"].value == 4
    assert found.readings["f"].value == 1
    assert found.wasted.value == pytest.approx(0.5)


def test_requests_of_the_served_log_go_before_labels(home):
    made = project(view(source(payments(400, cards=4))))
    with hw.operations.ServedLog(home) as log:
        for n in range(11):
            log.put(
                one(
                    about(
                        model="fraud",
                        request=("card",),
                        features=("card__count_1h",),
                        views=("card",),
                    ),
                    n,
                    (1,),
                    second=8640 * n,
                    request={"card": f"c{n % 2}"},
                )
            )
    found = inputs(made, made.models[0], hw.operations.Locations()).readings["R"]
    assert "serving log" in found.source
    assert found.value == pytest.approx(11)


def test_events_keys_and_tiles_of_the_history():
    """An event a minute, on two cards in turn; tiles of a minute."""
    made = project(view(source(payments(601, cards=2, every=60.0)), windows=("1h",)))
    found = inputs(made, made.models[0], hw.operations.Locations()).readings
    assert found["E"].value == pytest.approx(1440, rel=0.01)
    assert found["tau"].value == 60
    assert found["A"].value == pytest.approx(1, abs=0.01)
    assert found["c_e"].origin == "measured"
    assert 0 < found["c_e"].value < 0.01


# ---------------------------------------------------------------- prices


def test_defaults_say_so_and_a_file_goes_before_them_and_before_what_is_measured(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(
        "[g]\nvalue = 1e-6\nsource = 'our contract'\n[R]\nvalue = 5\n", encoding="utf-8"
    )
    made = project(view(source(payments(400))))
    found = cost(made, locations=hw.operations.Locations(prices=path))
    assert found.inputs["g"].to_dict() == {
        "type": "number",
        "value": 1e-6,
        "unit": "USD/read",
        "origin": "given",
        "source": "our contract",
    }
    assert (found.inputs["R"].value, found.inputs["R"].origin) == (5, "given")
    assert found.inputs["w"].origin == "default"
    assert "November 2024" in found.inputs["w"].source
    json.dumps(found.to_dict(), allow_nan=False)
