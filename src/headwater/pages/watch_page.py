"""The page of `headwater watch`: promise against delivery, drift, and lift by freshness, as far as
there are results.
"""

from __future__ import annotations

from headwater.pages import (
    delivery_page,
    delivery_section,
    drift_page,
    level_lift_page,
    level_lift_section,
)
from headwater.pages.document import Section, Text
from headwater.pages.rendering import render_page
from headwater.results.drift_result import DriftResult
from headwater.results.level_lift_result import LevelLiftResult
from headwater.results.promise_result import DeliveryResult


def to_html(
    delivery: DeliveryResult | None, drift: DriftResult | None, lift: LevelLiftResult | None
) -> str:
    """One self-contained page, at least one of the results given; the first of them has the
    verdict.
    """
    if drift is None and delivery is not None:
        return delivery_page.to_html(delivery, lift)
    if drift is None:
        assert lift is not None
        return level_lift_page.to_html(lift)
    section = drift_page.to_section(drift)
    lifts = [] if lift is None else [level_lift_section.to_section(lift)]
    if delivery is None:
        return render_page(
            "drift.html.j2", title=f"{drift.model}: drift", result=drift, sections=[section, *lifts]
        )
    drift_section = Section(
        section.name, section.heading, [Text(drift.first_line), *section.blocks]
    )
    sections = [delivery_section.to_section(delivery), drift_section, *lifts]
    return render_page(
        "delivery.html.j2",
        title=f"{delivery.promise.model}: delivery and drift",
        result=delivery,
        sections=sections,
    )
