"""Fixed models next to the training procedure on the page."""

from msgspec import structs

from headwater.reports import fixed_models, to_html
from tests.backtesting.sample_result import flights


def refitted(by=0.01):
    """The flights result of levels that were trained again; intervals of the fitted models are
    narrower by so much on either side.
    """
    result = flights()
    headline = [
        structs.replace(s, low=s.low + by, high=s.high - by)
        for s in result.comparisons
        if s.metric == result.headline
    ]
    return structs.replace(result, fixed_models=tuple(headline), fits=5)


def test_fixed_models_stand_next_to_the_procedure_where_levels_were_trained_again():
    once = structs.replace(refitted(0), fits=1)
    assert fixed_models.to_table(once) is None
    assert fixed_models.HEADING not in to_html(once)
    table = fixed_models.to_table(refitted())
    assert table.headings == ["step", "training procedure", "fitted models only"]
    assert len(table.rows) == len(refitted().fixed_models)
    assert table.rows[0][1] != table.rows[0][2]
    assert "adds nothing" not in table.caption
    assert fixed_models.HEADING in to_html(refitted())


def test_training_that_adds_nothing_is_said_to():
    says = "Here training again adds nothing that can be told from the noise of the test."
    assert says in fixed_models.to_table(refitted(0)).caption
    assert says in to_html(refitted(0))


def test_intervals_stand_below_their_values_so_that_a_phone_shows_them():
    cell = fixed_models.to_table(refitted()).rows[0][1]
    assert "[" not in cell.text
    assert cell.small.startswith("[")
