"""The result in a few lines: its repr at a prompt."""

from __future__ import annotations

import textwrap

from headwater.definitions.definition import WIDTH, cut
from headwater.reports import audit_words, wording
from headwater.results.backtest_result import BacktestResult
from headwater.terminal.text import visible

_LEVELS = 6
_NAME = 24


def to_text(result: BacktestResult) -> str:
    """The recommendation, then the headline metric of each level and its gain over the baseline:
    lines of 100 columns.

    They are at most 15. What withholds a verdict is whole, with its remedy, however long that is.
    """
    metric, decimals = result.headline, wording.places(result, result.headline)
    reached = {step.to: step for step in wording.judged(result)}
    lines = textwrap.wrap(
        visible(wording.verdict(result)),
        WIDTH,
        max_lines=3,
        placeholder=" ...",
        break_on_hyphens=False,
    )
    lines += [
        part for line in audit_words.blocking(result.audit) for part in _wrapped(visible(line))
    ]
    conditions = audit_words.conditions_in_short(result.audit)
    lines += [part for line in conditions for part in _wrapped(cut(visible(line), 2 * WIDTH - 8))]
    label, baseline = visible(wording.metric_label(metric)), visible(result.compared_with)
    lines.append(f"  {'level':<{_NAME}}  {cut(label, 24):<24}  gain over {cut(baseline, 24)}")
    for level in result.levels[:_LEVELS]:
        value = (
            wording.estimate(level.metrics[metric], decimals)
            if metric in level.metrics
            else wording.NO_VALUE
        )
        step = reached.get(level.name)
        gain = (
            ""
            if step is None
            else f"{wording.gain(step, decimals)} {wording.verdict_word(result, step)}"
        )
        lines.append(
            cut(
                f"  {cut(visible(level.name), _NAME):<{_NAME}}  {value:<24}  {gain}".rstrip(), WIDTH
            )
        )
    if len(result.levels) > _LEVELS:
        lines.append(f"  and {len(result.levels) - _LEVELS} more levels")
    return "\n".join(
        [
            *lines,
            ".table() prints more, .write_html(path) writes the report, .result holds every number",
        ]
    )


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )
