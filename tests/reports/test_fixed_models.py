"""Fixed models next to the training procedure on the page."""

from msgspec import structs

from headwater.reports import fixed_models, to_html
from tests.backtesting.sample_result import flights


def test_fixed_models_stand_next_to_the_procedure_where_they_differ():
    result = flights()
    assert fixed_models.to_table(result) is None
    headline = [step for step in result.comparisons if step.metric == result.headline]
    same = structs.replace(result, fixed_models=tuple(headline))
    assert fixed_models.to_table(same) is None
    narrower = structs.replace(result, fixed_models=tuple(structs.replace(step, low=step.low + 0.01) for step in headline))
    table = fixed_models.to_table(narrower)
    assert table.headings == ["step", "training procedure", "fitted models only"]
    assert len(table.rows) == len(headline)
    assert table.rows[0][1] != table.rows[0][2]
    assert "fitted models only" in to_html(narrower)
    assert "fitted models only" not in to_html(same)


def test_a_procedure_that_came_out_narrower_than_its_models_says_so():
    result = flights()
    headline = [step for step in result.comparisons if step.metric == result.headline]
    narrower, wider = (
        structs.replace(result, fixed_models=tuple(structs.replace(s, low=s.low - by, high=s.high + by) for s in headline))
        for by in (-0.001, 0.01)
    )
    says = "the first may come out below the second"
    assert says not in fixed_models.to_table(narrower).caption
    assert says in fixed_models.to_table(wider).caption
    assert says in to_html(wider)


def test_intervals_stand_below_their_values_so_that_a_phone_shows_them():
    result = flights()
    headline = [structs.replace(s, low=s.low - 0.01) for s in result.comparisons if s.metric == result.headline]
    cell = fixed_models.to_table(structs.replace(result, fixed_models=tuple(headline))).rows[0][1]
    assert "[" not in cell.text
    assert cell.small.startswith("[")
