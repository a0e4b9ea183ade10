"""Validators of what a definition is given. Each refuses in one form: "OWNER: FIELD is VALUE; give
ALLOWED".

A subject is the owner and the field, such as "feature view 'user': on_stale"; `give` names the
allowed values, with an example.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from sys import float_info
from types import UnionType
from typing import TypeGuard, TypeVar

from headwater.errors import DefinitionError, HeadwaterError, given, nearest

T = TypeVar("T")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an integer or a float; a boolean is none, nor is NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -inf <= value <= inf


def refusal(
    value: object, subject: str, give: str, error: type[HeadwaterError] = DefinitionError
) -> HeadwaterError:
    """The error of a value that is refused, for code that raises it itself; `check` does so by a
    condition.
    """
    return error(f"{subject} is {given(value)}; give {give}")


def check(
    ok: object,
    value: object,
    subject: str,
    give: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a value unless `ok`.

    >>> check(False, 2, "std(): ddof", "1 for the sample's deviation or 0 for the population's")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: std(): ddof is 2; give 1 for the sample's deviation or 0 for the population's
    """  # noqa: E501 (output as it is printed)
    if not ok:
        raise refusal(value, subject, give, error)


def check_type(
    value: object,
    kind: type | UnionType,
    subject: str,
    give: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a value of another type.

    >>> check_type("yes", bool, "the expectation of 'price': not_null", "True or False")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: the expectation of 'price': not_null is 'yes'; give True or False
    """  # noqa: E501 (output as it is printed)
    check(isinstance(value, kind), value, subject, give, error)


def check_text(
    value: object, subject: str, give: str, error: type[HeadwaterError] = DefinitionError
) -> None:
    """Refuse anything but a string that is not empty."""
    check(isinstance(value, str) and value != "", value, subject, give, error)


def check_choice(value: object, allowed: Collection[str], subject: str, note: str = "") -> None:
    """Refuse a value that is not one of a few strings.

    >>> check_choice("ealiest", ("earliest", "latest"), "kafka('payments'): start")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: kafka('payments'): start is 'ealiest'; give 'earliest' or 'latest'; did you mean 'earliest'?
    """  # noqa: E501 (output as it is printed)
    if not isinstance(value, str) or value not in allowed:
        *most, last = map(repr, allowed)
        near = nearest(value, allowed) if isinstance(value, str) else ""
        suggestion = f"; {near}" if near.endswith("?") else ""  # else it lists them again
        raise refusal(
            value,
            subject,
            f"{', '.join(most)}{' or ' * bool(most)}{last}{_after(note)}{suggestion}",
        )


def check_integer(
    value: object,
    subject: str,
    *,
    least: int,
    most: float = inf,
    note: str = "",
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse anything but an integer within bounds; a boolean is none.

    >>> check_integer(True, "feature view 'user': version", least=1, note="such as 2")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': version is True; give an integer of at least 1, such as 2
    """  # noqa: E501 (output as it is printed)
    inside = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    check(
        inside, value, subject, f"an integer{_range(least, -inf, most, inf)}{_after(note)}", error
    )


def check_number(  # noqa: PLR0913 (a bound each)
    value: object,
    subject: str,
    what: str = "a number",
    *,
    least: float = -inf,
    above: float = -inf,
    most: float = inf,
    below: float = inf,
    note: str = "",
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse anything but a finite number within bounds; a boolean is none. what: the number is,
    such as "a share".

    >>> check_number(1, "project 'shop': holdout", "a share", least=0, below=1, note="such as 0.05")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: project 'shop': holdout is 1; give a share from 0 to below 1, such as 0.05
    """  # noqa: E501 (output as it is printed)
    inside = (
        is_number(value)
        and abs(value) <= float_info.max
        and above < value < below
        and least <= value <= most
    )
    check(inside, value, subject, f"{what}{_range(least, above, most, below)}{_after(note)}", error)


def check_list(
    values: Sequence[T],
    kind: type | UnionType,
    subject: str,
    give: str,
    *,
    least: int = 0,
    error: type[HeadwaterError] = DefinitionError,
) -> tuple[T, ...]:
    """The values as a tuple; refuse anything but a sequence of at least `least` of them, all of a
    type.

    >>> check_list("user", str, "feature view 'user': keys", "names of columns")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': keys is the string 'user'; give a list, such as ['user']
    """  # noqa: E501 (output as it is printed)
    if isinstance(values, str) and isinstance(values, kind):
        raise error(f"{subject} is the string {values!r}; give a list, such as [{values!r}]")
    check(
        isinstance(values, Sequence) and not isinstance(values, str) and len(values) >= least,
        values,
        subject,
        give,
        error,
    )
    for value in values:
        if not isinstance(value, kind):
            raise error(f"{subject} holds {given(value)}; give {give}")
    return tuple(values)


def check_columns(columns: Sequence[str], subject: str, *, least: int = 0) -> tuple[str, ...]:
    """Names of columns as a tuple.

    >>> check_columns([], "precomputed(): keys", least=1)
    Traceback (most recent call last):
    headwater.errors.DefinitionError: precomputed(): keys is []; give a list of at least one column, such as ['user']
    """  # noqa: E501 (output as it is printed)
    give = f"a list of {'at least one column' if least else 'columns'}, such as ['user']"
    names = check_list(columns, str, subject, give, least=least)
    check("" not in names, columns, subject, give)
    return names


def check_reference(
    name: str,
    known: Collection[str] | None,
    says: str,
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a name that is not among the known ones, with the nearest of them. known: None where
    they are not known yet.

    >>> check_reference(
    ...     "usr",
    ...     ["user", "at"],
    ...     "feature view 'user': the key 'usr' is not selected by source 'clicks'",
    ... )
    Traceback (most recent call last):
    headwater.errors.DefinitionError: feature view 'user': the key 'usr' is not selected by source 'clicks'; did you mean 'user'?
    """  # noqa: E501 (output as it is printed)
    if known is not None and name not in known:
        raise error(f"{says}; {nearest(str(name), known)}")


def _range(least: float, above: float, most: float, below: float) -> str:
    """The bounds in words, after a space; nothing where there are none.

    >>> (
    ...     _range(0, -inf, inf, 1),
    ...     _range(-inf, 0, 1, inf),
    ...     _range(1, -inf, inf, inf),
    ...     _range(-inf, -inf, inf, inf),
    ... )
    (' from 0 to below 1', ' above 0 and up to 1', ' of at least 1', '')
    """
    high = f"below {below:,}" if below < inf else f"{most:,}" if most < inf else ""
    if above > -inf:
        return f" above {above:,}" + (f" and {'up to ' * (below == inf)}{high}" if high else "")
    if least > -inf:
        return f" from {least:,} to {high}" if high else f" of at least {least:,}"
    return ""


def _after(note: str) -> str:
    return f", {note}" if note else ""
