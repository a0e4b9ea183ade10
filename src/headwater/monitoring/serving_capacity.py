"""How many workers a rate of requests needs, from the processor seconds that a running service has
spent on its requests.
"""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from headwater import settings
from headwater.errors import ConnectError, DataError, UsageError

USE: Final = 0.6
"""The share of its processor that a worker uses as planned: where one of three zones fails, the
others are at 0.9.
"""

_SECONDS: Final = 5.0
_REQUESTS, _PROCESSOR = "headwater_requests_total", "headwater_processor_seconds_total"
_WORK: Final = "/v1/"


@dataclass(frozen=True)
class ServingCapacity:
    """The measured cost of a request, and what a rate needs.

    requests: that were answered since the workers started, of routes under /v1. processor_seconds:
    of all workers, also for work that belongs to no request. rate: requests a second that are
    planned for; None where none is.

    >>> capacity = ServingCapacity(1_000_000, 400.0, 20_000)
    >>> capacity.workers
    14
    >>> print(capacity)
    20,000 requests/s at 60 % use: 14 workers, by 400 us of a processor for each of 1,000,000 requests
    """  # noqa: E501 (output as it is printed)

    requests: int
    processor_seconds: float
    rate: float | None = None

    @property
    def seconds_per_request(self) -> float:
        """Processor seconds of a request."""
        return self.processor_seconds / self.requests

    @property
    def workers(self) -> int | None:
        """How many workers serve the rate, each used to `USE`; None without a rate."""
        return (
            None
            if self.rate is None
            else max(1, math.ceil(self.rate * self.seconds_per_request / USE))
        )

    def __str__(self) -> str:
        cost = (
            f"{self.seconds_per_request * 1e6:,.0f} us of a processor for each of "
            f"{self.requests:,} requests"
        )
        if self.workers is None:
            return (
                f"a request takes {cost}; a worker used to {USE:.0%} answers "
                f"{USE / self.seconds_per_request:,.0f} a second"
            ).replace("%", " %")
        return (
            f"{self.rate:,.0f} requests/s at {USE * 100:.0f} % use: {self.workers:,} workers, by "
            f"{cost}"
        )

    def to_dict(self) -> dict[str, object]:
        """The fields, `seconds_per_request`, `use` and `workers`."""
        return {
            **asdict(self),
            "seconds_per_request": self.seconds_per_request,
            "use": USE,
            "workers": self.workers,
        }


def serving_capacity(url: str, rate: float | None = None) -> ServingCapacity:
    """Read the counters of a running service at its /metrics.

    Args:
        url: of the service.
        rate: requests a second that are planned for.

    Raises:
        UsageError: not a URL, or a rate that is not above 0.
        ConnectError: the service does not answer, or refuses the token of HEADWATER_TOKEN.
        DataError: it has answered no request yet.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"the service is {url!r}; give its URL, such as http://127.0.0.1:8320")
    if rate is not None and not rate > 0:
        raise UsageError(f"the rate is {rate}; give requests a second, above 0")
    return capacity_of(_metrics(url), url, rate)


def capacity_of(text: str, url: str, rate: float | None) -> ServingCapacity:
    """The capacity from metrics in Prometheus text format.

    Raises:
        DataError: as `serving_capacity`.
    """
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    requests = sum(
        s.value
        for s in samples
        if s.name == _REQUESTS and s.labels.get("route", "").startswith(_WORK)
    )
    spent = sum(s.value for s in samples if s.name == _PROCESSOR)
    if not requests or not spent:
        raise DataError(
            f"the service at {url} has answered no request under {_WORK} yet, so the cost of one "
            "is not known; ask after some"
        )
    return ServingCapacity(round(requests), spent, rate)


def _metrics(url: str) -> str:
    token = settings.service_token()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)  # noqa: S310 (http or https)
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        error.close()
        hint = (
            ". Set HEADWATER_TOKEN to a token of the scope read" if error.code in (401, 403) else ""
        )
        raise ConnectError(f"{url}/metrics answers {error.code} {error.reason}{hint}") from None
    except (OSError, ValueError) as error:
        raise ConnectError(
            f"the service at {url} does not answer: {getattr(error, 'reason', error)}; see that "
            "it runs"
        ) from None
    return body.decode()
