"""Keys that a request gives as a list: a basket, the last items seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headwater.definitions.checks import check, check_integer
from headwater.definitions.definition import Definition

DEFAULT_LENGTH: Final = 100
MOST_LENGTH: Final = 100_000


@dataclass(frozen=True, eq=False, init=False)
class Each(Definition, called="each"):
    """Look a view up once for each element of a list: `products.alias("in_basket", keys={"product":
    hw.each("basket")})`.

    Every feature of the alias is a list, in the order of the request's list, with the value that a
    lookup of that element alone gives. An unknown key or a null element has the value of no events:
    0 for counts and sums, else null. An empty list gives [], and a null list null. The status of a
    list is one of those of its elements: overflow, fallback, present, expired, empty, missing, in
    this order, so it is present where one element is; that of [] is empty, and that of a null list
    missing.

    Args:
        of: a column of the request that holds a list, or a feature that is a list, such as
            `user["last_n_product"]`.
        max_length: the longest list; a row with a longer one is refused, in training and in
            serving. From 1 to 100,000.

    Raises:
        DefinitionError: something else, or a length out of range.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> at = lambda hour: datetime(2024, 5, 1, hour, tzinfo=UTC)
    >>> sold = pl.DataFrame(
    ...     {
    ...         "product": ["tea", "tea", "jam"],
    ...         "price": [2.0, 4.0, 5.0],
    ...         "at": [at(8), at(9), at(9)],
    ...     }
    ... )
    >>> sales = hw.Source("sales", history=sold, timestamp_field="at")
    >>> product = hw.FeatureView(
    ...     "product",
    ...     source=sales,
    ...     keys=["product"],
    ...     features=[hw.count(), hw.mean("price")],
    ...     windows=["1d"],
    ...     freshness=hw.on_request(),
    ... )
    >>> basket = product.alias("basket", keys={"product": hw.each("products", max_length=20)})
    >>> rows = pl.DataFrame(
    ...     {"products": [["jam", "tea", "nuts"], [], None], "timestamp": [at(10)] * 3}
    ... )
    >>> hw.get_historical_features(basket, rows)["basket__mean_price_1d"].to_list()
    [[5.0, 3.0, None], [], None]
    >>> hw.get_historical_features(basket, rows)["basket__count_1d"].to_list()
    [[1, 2, 0], [], None]

    A request feature reduces the list to what a model takes:

    >>> @hw.request_feature
    ... def dearest(prices: list[float | None] | None = basket["mean_price_1d"]) -> float | None:
    ...     return max((price for price in prices or () if price is not None), default=None)
    >>> hw.get_historical_features(dearest, rows)["dearest"].to_list()
    [5.0, None, None]
    """

    of: str | Definition
    max_length: int

    def __init__(
        self,
        of: str | Definition,
        *,
        max_length: int = DEFAULT_LENGTH,
    ) -> None:
        named = isinstance(of, str | Definition) and of
        check(
            named,
            of,
            "each(): of",
            "a column of the request that holds a list, or a feature that is one",
        )
        check_integer(max_length, "each(): max_length", least=1, most=MOST_LENGTH)
        self._set(of=of, max_length=max_length)


@dataclass(frozen=True, eq=False)
class ListKey(Definition):
    """The key of a view that a list fills, and how long the list may be."""

    key: str
    max_length: int


each = Each
