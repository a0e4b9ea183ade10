"""docs/scale.md: its tables are what its script gives, and its figures follow from the inputs."""

import json

import pytest

from bench.scale import figures
from bench.scale.inputs import PRICES, RESULTS, Results, assumed, measured
from bench.simulation import scenarios
from headwater.assessing import prices
from scripts import scale


@pytest.fixture(scope="module")
def results():
    return Results.read()


@pytest.fixture(scope="module")
def inputs(results):
    return figures.plain(measured(results), assumed())


def _value(rows, what):
    return figures.value(rows, what)


def test_the_page_has_what_the_script_gives(results):
    text = scale.PAGE.read_text("utf-8")
    assert scale.page(text, results) == text
    first = scale.MARK.search(text)
    assert scale.page(text.replace(first[0], first[1] + first[3]), results) == text


def test_prices_of_assess_cost_are_not_written_again():
    own = assumed()
    assert {name: own[name].value for name in PRICES} == {
        name: prices.defaults()[name].value for name in PRICES
    }
    text = (scale.ROOT / "bench" / "scale" / "assumptions.toml").read_text("utf-8")
    assert "[p_cpu]" not in text


def test_every_input_says_its_unit_and_source(results):
    for name, given in {**measured(results), **assumed()}.items():
        assert given.unit, name
        assert len(given.source) > 5, name
        assert given.value > 0, name


def test_twice_the_events_take_twice_the_processors(inputs):
    twice = {**inputs, "events": 2 * inputs["events"]}
    for what in ("vCPU of ingest processes", "vCPU of brokers", "disk of brokers"):
        assert _value(figures.ingest(twice), what) == pytest.approx(
            2 * _value(figures.ingest(inputs), what)
        )


def test_each_region_reads_all_events_and_two_serve_all_requests(inputs):
    assert figures.serving_rate(inputs) == inputs["predictions"] / 2
    assert figures.written(inputs) == inputs["events"] * inputs["records"]


def test_the_sum_of_the_parts_is_the_cost(inputs):
    rows = figures.cost(inputs)
    regions = inputs["regions"] * sum(
        row.value for row in rows if row.what.startswith("a region: ")
    )
    once = sum(row.value for row in rows if not row.what.startswith(("a region", "all regions")))
    assert rows[-1].value == pytest.approx(regions + once)


def test_the_first_limit_is_the_one_of_which_most_are_needed(inputs):
    needs = [row[3] for row in figures.limits(inputs)]
    assert needs == sorted(needs, reverse=True)


def test_a_row_that_was_not_measured_is_named():
    with pytest.raises(KeyError, match="no row 'POST features from lmdb, one worker'"):
        Results([]).row("POST features from lmdb, one worker")


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,230,000"), (0.012345, "0.0123"), (42.0, "42"), (0, "0")]
)
def test_numbers_have_three_digits(value, text):
    assert scale.number(value) == text


def test_points_that_are_kept_are_those_of_the_simulation(results):
    for point in scenarios.points(results):
        row = results.row(f"simulated: {point['name']}")
        assert row["ours"] == pytest.approx(point["simulated"], abs=0.1), point["name"]
        assert row["peer"] == point["measured"]


def test_a_share_of_a_region_has_as_large_a_share_of_each_part(results, inputs):
    whole, share = scenarios.Region.of(results), scenarios.Region.of(results, 1 / 24, 1 / 12)
    for part, of in (("serving", 24), ("ingest", 12)):
        all_of_it, some = getattr(whole, part), getattr(share, part)
        assert some.rate == pytest.approx(all_of_it.rate / of, rel=0.05)
        assert some.shards == pytest.approx(all_of_it.shards / of, rel=0.05)
    assert whole.serving.rate * inputs["utilisation"] == pytest.approx(
        figures.serving_rate(inputs), rel=0.02
    )
    assert whole.ingest.rate * inputs["utilisation"] == pytest.approx(inputs["events"], rel=0.02)
    assert whole.ingest.partitions == pytest.approx(
        _value(figures.ingest(inputs), "partitions"), rel=0.01
    )


def test_the_summary_has_the_figures_of_the_other_tables(inputs):
    rows = {row.what: row.value for row in figures.summary(inputs)}
    assert rows["ingest processes"] == _value(figures.ingest(inputs), "ingest processes")
    assert rows["a month, all regions"] == figures.cost(inputs)[-1].value


def test_fleets_that_are_kept_are_those_of_the_simulation(results):
    share = scenarios.Region.of(results, scenarios.SERVING_SHARE, scenarios.INGEST_SHARE)
    kept = results.row("simulated fleet: ingest saturation, the last case, p99")["cases"]
    for made, case in zip(scenarios.ingest_saturation(share.ingest), kept, strict=True):
        assert case["p99"] == pytest.approx(made["p99"], abs=1e-3)


def test_hours_are_those_of_executors_where_they_were_measured(inputs):
    local = {name: value for name, value in inputs.items() if name != "executor_pass"}
    (mine,), (theirs,) = (
        [row for row in figures.history(x) if row.what.startswith("one pass")]
        for x in (local, {**local, "executor_pass": 3e-6})
    )
    assert (mine.unit, theirs.unit) == ("vCPU-hours", "executor-hours")
    assert theirs.value / mine.value == pytest.approx(3e-6 / local["pass"])


def test_the_cost_of_an_executor_is_what_it_adds_for_an_event():
    rows = [row for row in json.loads(RESULTS.read_text("utf-8")) if row["row"] != "spark"]
    for events, busy in ((1_000_000, 5.0), (10_000_000, 23.0)):
        name = f"12 features on Spark, {events:,} events, executors: 2"
        rows.append({"row": "spark", "name": name, "events": events, "busy": {"executors": busy}})
    assert measured(Results(rows))["executor_pass"].value == pytest.approx(2e-6)
