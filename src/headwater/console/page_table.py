"""The pages, actions and data routes of the console: one row each.

To add a page: a file here with a function `(ConsoleContext, ConsoleRequest) -> mapping`, which
returns plain data; a template in templates/ that extends base.html.j2 and fills its block
`content`, with sections of `pages.document` by `blocks.section(...)`; and a row of `PAGES`.
What takes longer than 300 ms goes through
`context.summaries.latest`. An element with an id and `data-live="runs store"` is fetched again when
one of these parts changes. A form that changes something posts to a row of `ACTIONS`, is shown `{%
if may_act %}`, and holds `<input type="hidden" name="csrf" value="{{ csrf }}">`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headwater.console.attention import acknowledge
from headwater.console.decide import compare, decide, run
from headwater.console.experiment_pages import experiment, experiments
from headwater.console.feature_pages import catalogue, definition_page, feature_page
from headwater.console.freshness_page import freshness_page, refused_page, replay_refused
from headwater.console.lineage_page import lineage_page
from headwater.console.model_versions import model_versions, promote, roll_back
from headwater.console.overview import overview
from headwater.console.page_types import ConsoleAction, ConsolePage, DataRoute
from headwater.console.serving_page import requests_page

PAGES: Final[Sequence[ConsolePage]] = (
    ConsolePage("", "Overview", "overview.html.j2", overview),
    ConsolePage("/decide", "Decide", "decide.html.j2", decide),
    ConsolePage("/experiments", "Experiments", "experiments.html.j2", experiments),
    ConsolePage("/features", "Features", "features.html.j2", catalogue),
    ConsolePage("/lineage", "Lineage", "lineage.html.j2", lineage_page),
    ConsolePage("/freshness", "Freshness", "freshness.html.j2", freshness_page),
    ConsolePage("/serving", "Serving", "requests.html.j2", requests_page),
    ConsolePage("/models", "Models", "model_versions.html.j2", model_versions),
    ConsolePage("/runs/{run}", "Run", "run.html.j2", run, in_navigation=False),
    ConsolePage(
        "/compare",
        "Runs side by side",
        "compare.html.j2",
        compare,
        in_navigation=False,
    ),
    ConsolePage(
        "/definition", "Definition", "definition.html.j2", definition_page, in_navigation=False
    ),
    ConsolePage(
        "/features/{feature}", "Feature", "feature.html.j2", feature_page, in_navigation=False
    ),
    ConsolePage(
        "/freshness/{source}",
        "Refused records",
        "refused_records.html.j2",
        refused_page,
        in_navigation=False,
    ),
    ConsolePage(
        "/experiments/{name}",
        "Experiment",
        "experiment_status.html.j2",
        experiment,
        in_navigation=False,
    ),
)

ACTIONS: Final[Sequence[ConsoleAction]] = (
    ConsoleAction("/acknowledge", acknowledge),
    ConsoleAction("/models/promote", promote),
    ConsoleAction("/replay", replay_refused),
    ConsoleAction("/models/rollback", roll_back),
)

DATA_ROUTES: Final[Sequence[DataRoute]] = ()
