"""A check: the readings that it judges, the thresholds, and what to do if they are not met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headwater.results.measurement import Missing, Reading, duration
from headwater.results.readiness_result import Finding, Gate, State

Subject = Literal["view", "model", "project"]
Limits = Mapping[str, float]
"""Seconds: F the required freshness, W the longest window, B the latency budget, T the training
span, L label delay p95.
"""

WORST: Sequence[State] = ("red", "unknown", "amber", "green")


@dataclass(frozen=True)
class Bound:
    """A threshold: a sum of multiples of limits, or the least of several; without terms `value`
    itself.
    """

    terms: Sequence[tuple[float, str]] = ()
    value: float = 0.0
    least: Sequence[Bound] = ()

    def threshold(self, limits: Limits) -> float:
        """Its value; NaN if a limit is not known."""
        if self.least:
            return min(bound.threshold(limits) for bound in self.least)
        return (
            sum(factor * limits.get(name, math.nan) for factor, name in self.terms)
            if self.terms
            else self.value
        )

    def words(self, limits: Limits, *, seconds: bool) -> str:
        """The formula and its value, such as "W/10 or F = 60s"."""
        value = self.threshold(limits)
        shown = duration(value) if seconds else f"{value:g}"
        return f"{self.formula} = {shown}" if self.formula else shown

    @property
    def formula(self) -> str:
        """The formula in symbols; empty for a plain number."""
        if self.least:
            return " or ".join(bound.formula for bound in self.least)
        return " + ".join(_times(factor, name) for factor, name in self.terms)


def sum_of(*terms: tuple[float, str] | str) -> Bound:
    """A sum of limits: `sum_of("T", "W", "L")`, `sum_of((2, "W"))`.

    >>> sum_of((2, "W")).threshold({"W": 5.0})
    10.0
    """
    return Bound([(1.0, term) if isinstance(term, str) else term for term in terms])


@dataclass(frozen=True)
class Rule:
    """How a reading is judged: green and red are bounds, between them is amber. strict: which bound
    excludes its own value.
    """

    reading: str
    better: Literal["high", "low"]
    green: Bound
    red: Bound
    strict: bool = False
    words: tuple[str, str] | None = None

    def state(self, value: float, limits: Limits) -> State:
        """The state of a value; unknown if a bound is unknown."""
        sign = 1 if self.better == "high" else -1
        green, red = (sign * bound.threshold(limits) for bound in (self.green, self.red))
        signed = sign * value
        if math.isnan(green) or math.isnan(red) or math.isnan(value):
            return "unknown"
        if signed < red:
            return "red"
        return "green" if (signed > green if self.strict else signed >= green) else "amber"

    def said(self, limits: Limits, *, seconds: bool) -> tuple[str, str]:
        """The two thresholds in words."""
        if self.words is not None:
            return self.words
        signs = ("≥", "<") if self.better == "high" else ("<" if self.strict else "≤", ">")
        green, red = (
            f"{sign} {b.words(limits, seconds=seconds)}"
            for sign, b in zip(signs, (self.green, self.red), strict=True)
        )
        return green, red


def at_least(reading: str, green: float | Bound, red: float | Bound) -> Rule:
    """Green from `green` on, red below `red`."""
    return Rule(reading, "high", _bound(green), _bound(red))


def at_most(
    reading: str, green: float | Bound, red: float | Bound, *, strict: bool = False
) -> Rule:
    """Green up to `green` (or below it, where `strict`), red above `red`."""
    return Rule(reading, "low", _bound(green), _bound(red), strict)


def stated(reading: str, green: str, red: str) -> Rule:
    """A rule on a reading of 1, 0.5 or 0, with its thresholds in words."""
    return Rule(reading, "high", Bound(value=1.0), Bound(value=0.5), words=(green, red))


@dataclass(frozen=True)
class Question:
    """A question for what cannot be measured, and its possible answers."""

    text: str
    green: str
    amber: str
    red: str

    def value(self, answer: str) -> float | None:
        """1, 0.5 or 0; None for another word."""
        return {self.green: 1.0, self.amber: 0.5, self.red: 0.0}.get(answer)


@dataclass(frozen=True)
class Check:
    """A line of the scorecard. The state is the worst of its rules; `question` is the question if
    nothing is measured.
    """

    id: str
    gate: Gate
    subject: Subject
    title: str
    rules: Sequence[Rule]
    remedy: str
    question: Question | None = None
    further: Sequence[str] = ()

    def judge(self, about: str, readings: Mapping[str, Reading], limits: Limits) -> Finding:
        """The finding for the readings of a subject."""
        parts = [
            (rule, readings.get(rule.reading, Missing("no source for this reading")))
            for rule in self.rules
        ]
        states: list[State] = [
            "unknown" if isinstance(r, Missing) else rule.state(r.value, limits)
            for rule, r in parts
        ]
        worst = min(range(len(parts)), key=lambda n: WORST.index(states[n]))
        reading = parts[worst][1]
        if states[worst] == "unknown" and not isinstance(reading, Missing):
            unknown = [
                name for name in ("F", "W", "B", "T", "L") if math.isnan(limits.get(name, math.nan))
            ]
            reading = Missing(
                f"it is {reading}, and its threshold needs {', '.join(unknown)}, which is not known"
            )
        thresholds = [
            r.said(limits, seconds=_timed(r) or (not isinstance(v, Missing) and v.unit == "s"))
            for r, v in parts
        ]
        further = {r.reading: v for n, (r, v) in enumerate(parts) if n != worst} | {
            n: readings[n] for n in self.further if n in readings
        }
        green, red = (
            "; ".join(words[0] for words in thresholds),
            "; or ".join(words[1] for words in thresholds),
        )
        return Finding(
            self.id,
            self.gate,
            about,
            self.title,
            states[worst],
            reading,
            green,
            red,
            self.remedy,
            further,
        )

    def at(self, **limits: str) -> Check:
        """The check with one limit replaced by another: `E3.at(F="B")`."""
        return replace(self, rules=[_renamed(rule, limits) for rule in self.rules])


def _renamed(rule: Rule, names: Mapping[str, str]) -> Rule:
    def renamed(bound: Bound) -> Bound:
        terms = [(factor, names.get(name, name)) for factor, name in bound.terms]
        return replace(bound, terms=terms, least=[renamed(term) for term in bound.least])

    return replace(rule, green=renamed(rule.green), red=renamed(rule.red))


def _timed(rule: Rule) -> bool:
    return bool(rule.green.formula)


def _bound(value: float | Bound) -> Bound:
    return value if isinstance(value, Bound) else Bound(value=value)


def _times(factor: float, name: str) -> str:
    if factor == 1:
        return name
    return (
        f"{name}/{1 / factor:g}"
        if factor < 1 and (1 / factor).is_integer()
        else f"{factor:g}{name}"
    )
