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
