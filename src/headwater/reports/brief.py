"""The result in a few lines: its repr at a prompt."""

from __future__ import annotations

import textwrap

from headwater.definitions.readable import WIDTH, cut
from headwater.reports import wording
from headwater.results.backtest_result import BacktestResult

_LEVELS = 6
_NAME = 24


def to_text(result: BacktestResult) -> str:
    """The recommendation, then the headline metric of each level and its gain over the baseline: at most 12 lines of 100 columns."""
    metric, decimals = result.headline, wording.places(result, result.headline)
    reached = {step.to: step for step in wording.judged(result)}
    lines = textwrap.wrap(wording.verdict(result), WIDTH, max_lines=3, placeholder=" ...", break_on_hyphens=False)
    lines.append(f"  {'level':<{_NAME}}  {cut(wording.metric_label(metric), 24):<24}  gain over {cut(result.compared_with, 24)}")
    for level in result.levels[:_LEVELS]:
        value = wording.estimate(level.metrics[metric], decimals) if metric in level.metrics else wording.NO_VALUE
        step = reached.get(level.name)
        gain = "" if step is None else f"{wording.gain(step, decimals)} {wording.verdict_word(result, step)}"
        lines.append(cut(f"  {cut(level.name, _NAME):<{_NAME}}  {value:<24}  {gain}".rstrip(), WIDTH))
    if len(result.levels) > _LEVELS:
        lines.append(f"  and {len(result.levels) - _LEVELS} more levels")
    return "\n".join([*lines, ".table() prints more, .write_html(path) writes the report, .result holds every number"])
