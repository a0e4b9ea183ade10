"""Clients of Amazon Web Services, by boto3: failures as errors that say what to do, and a bounded
wait where requests are throttled.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from headwater.errors import ConnectError, HeadwaterError, MissingExtraError, nearest
from headwater.plugins import Backoff, retry, stopwatch, wait

_LOG = logging.getLogger(__name__)

Answer = dict[str, Any]

_PAUSES: Final = Backoff(first=0.05, longest=5.0)
_WARN_EVERY: Final = 30.0
_THROTTLED: Final = frozenset(
    {
        *(
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
        ),
        *(
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingError",
            "ThrottlingException",
        ),
        *("TooManyRequestsException", "KMSThrottlingException", "TransactionInProgressException"),
    }
)
_EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
)
_REFUSED: Final = frozenset(
    {
        *(
            "AccessDenied",
            "AccessDeniedException",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
        ),
        *(
            "MissingAuthenticationToken",
            "NotAuthorized",
            "OptInRequired",
            "SignatureDoesNotMatch",
            "UnauthorizedOperation",
        ),
        *("UnrecognizedClientException", "KMSAccessDeniedException"),
    }
)
_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with AWS_PROFILE, or run "
    "where the machine has a role. An emulator takes any values"
)


_NO_SERVICE: Final = (
    "the answer is a web page, and none of a service of AWS. Check the endpoint, and proxies on "
    "the way to it"
)


class AwsRefusedError(ConnectError):
    """A service refused a request with a code that its caller expects.

    Remedy: its caller handles it.

    code: of the service, such as "ResourceNotFoundException". answer: the whole response, such as
    one with "CancellationReasons".
    """

    def __init__(self, code: str, message: str, answer: Answer) -> None:
        self.code, self.answer = code, answer
        super().__init__(message)


@dataclass
class AwsClient:
    """A client of one service, for any number of threads.

    Region and credentials come from where every program with boto3 finds them: environment,
    profile, role. A request that is throttled, that gets no answer, or that meets an error of the
    service, is sent again after a random pause that grows, until `patience` has passed. So a
    request that writes must be one that the service makes once however often it is sent: it has a
    token, or is idempotent.

    Args:
        service: "kinesis" or "dynamodb".
        region: such as "eu-central-1"; None takes that of environment or profile.
        endpoint_url: of an emulator, or of a private endpoint; None is the public one.
        patience: seconds after which a request that fails is given up.
        timeout: seconds to wait for each answer.
        failure: which error is raised; a store raises `StoreError`.
        unanswered: which one without an answer, or where the service throttles or fails for too
            long.
        connections: how many requests can be under way.

    throttled, waited: the number of requests that were throttled, and the seconds of all pauses so
    far.

    Raises:
        MissingExtraError: boto3 is not installed.
        ConnectError, or `failure`: no region, no credentials, an invalid address.
    """

    service: str
    region: str | None = None
    endpoint_url: str | None = None
    patience: float = 30.0
    timeout: float = 10.0
    failure: type[HeadwaterError] = ConnectError
    unanswered: type[HeadwaterError] = ConnectError
    connections: int = 32
    throttled: int = 0
    waited: float = 0.0
    # throttled then, and when to warn again
    _warned: tuple[int, float] = field(default=(0, -math.inf), init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            import boto3
            from botocore import exceptions
            from botocore.config import Config
        except ImportError as error:
            raise MissingExtraError("boto3", "aws") from error
        self._doubt = ""  # about the region, for errors
        self._errors = exceptions
        self._may_pass = (
            exceptions.ClientError,
            exceptions.HTTPClientError,
            exceptions.ConnectionError,
        )
        config = Config(
            connect_timeout=min(5.0, self.timeout),
            read_timeout=self.timeout,
            max_pool_connections=self.connections,
            retries={"total_max_attempts": 1, "mode": "standard"},  # `call` does this, and counts
            user_agent_extra="headwater",
        )
        with self._failures():
            session = boto3.session.Session(region_name=self.region)
            if session.get_credentials() is None:
                raise exceptions.NoCredentialsError
            self._client = session.client(
                self.service, endpoint_url=self.endpoint_url, config=config
            )
            self._check_region(session)
        self.region = self._client.meta.region_name
        self.endpoint_url = self._client.meta.endpoint_url

    def _check_region(self, session: Any) -> None:  # noqa: ANN401 (of boto3, which is imported where it is used)
        """Raise where the address is made of a region that has no name of one; doubt one that boto3
        does not know, which may be newer.
        """
        name, url = self._client.meta.region_name, self._client.meta.endpoint_url
        if f".{name}." not in url:
            return
        try:
            regions = session.get_available_regions(
                self.service, session.get_partition_for_region(name)
            )
        except self._errors.UnknownRegionError as error:
            hint = nearest(name, session.get_available_regions(self.service))
            raise self.failure(
                f"AWS has no region {name!r} ({hint}); correct region=, or AWS_DEFAULT_REGION"
            ) from error
        if name not in regions:
            self._doubt = f"boto3 knows no region {name!r} ({nearest(name, regions)}). "

    def __str__(self) -> str:
        return f"{self.service} at {self.endpoint_url} (region {self.region})"

    def call(
        self,
        operation: str,
        request: Mapping[str, object],
        *,
        expected: Collection[str] = (),
        patience: float | None = None,
    ) -> Answer:
        """The answer to one request.

        Args:
            operation: by boto3's name, such as "get_records".
            request: its parameters.
            expected: codes that are raised as `AwsRefusedError`, without another attempt.
            patience: seconds, in place of the client's; 0 for one attempt.

        Raises:
            AwsRefusedError: a code that is expected.
            ConnectError, or `failure`: credentials missing or expired, access refused.
            ConnectError, or `unanswered`: throttled or without an answer for too long.
        """

        def send() -> Answer:
            answer: Answer = getattr(self._client, operation)(**request)
            if _is_page(answer):
                raise self.failure(f"{self.endpoint_url}: {_NO_SERVICE}")
            return answer

        pauses = _PAUSES.within(self.patience if patience is None else patience)
        with self._failures(expected):
            return retry(
                send,
                on=self._may_pass,
                pauses=pauses,
                passes=partial(self._passes, expected),
                wait=partial(self.wait, operation),
            )

    def wait(self, operation: str, seconds: float) -> None:
        """Wait before `operation` is sent again.

        Where requests are throttled, a warning says how many, at most every half minute.
        """
        self.waited += seconds
        _LOG.debug("%s: %s is sent again in %.2f s", self, operation, seconds)
        if self.throttled > self._warned[0] and stopwatch() > self._warned[1]:
            self._warned = self.throttled, stopwatch() + _WARN_EVERY
            _LOG.warning(
                "%s: %d requests were throttled so far, and are sent again; %.1f s of pauses. If "
                "it lasts, raise its capacity, or send less",
                self,
                self.throttled,
                self.waited,
            )
        wait(seconds)

    def _passes(self, expected: Collection[str], error: Exception) -> bool:
        """Whether what boto3 raised may be gone soon. Throttled requests are counted."""
        if not isinstance(error, self._errors.ClientError):
            return True
        code, _ = _code_of(error.response)
        self.throttled += code in _THROTTLED and code not in expected
        return code not in expected and _may_pass(error.response)

    @contextlib.contextmanager
    def _failures(self, expected: Collection[str] = ()) -> Iterator[None]:
        """Raise what boto3 raises in the block as an error that says what to do."""
        at = self.endpoint_url or f"the service {self.service}"
        errors = self._errors
        try:
            yield
        except errors.ClientError as error:
            code, text = _code_of(error.response)
            if code in expected:
                raise AwsRefusedError(
                    code, f"{self.service}: {text} ({code})", error.response
                ) from error
            raised = self.unanswered if _may_pass(error.response) else self.failure
            raise raised(
                f"{at}: "
                f"{_NO_SERVICE if _is_page(error.response) else _refused(self.service, code, text)}"
            ) from error
        except (errors.NoCredentialsError, errors.PartialCredentialsError) as error:
            raise self.failure(
                f"{at}: no credentials were found, or only a part of them ({error}); {_CREDENTIALS}"
            ) from error
        except (
            errors.TokenRetrievalError,
            errors.SSOError,
            errors.CredentialRetrievalError,
            errors.MetadataRetrievalError,
        ) as error:
            raise self.failure(
                f"{at}: credentials cannot be fetched: {error}. Sign in again, or {_CREDENTIALS}"
            ) from error
        except errors.ProfileNotFound as error:
            raise self.failure(
                f"{at}: {error}; correct AWS_PROFILE, or add the profile to ~/.aws/config"
            ) from error
        except errors.NoRegionError as error:
            raise self.failure(
                f"{at}: no region is known; give region=, or set AWS_DEFAULT_REGION"
            ) from error
        except (errors.HTTPClientError, errors.ConnectionError) as error:
            raise self.unanswered(
                f"{at}: no answer: {error}. {self._doubt}Check the region, the endpoint and the "
                "network, and that the service (or the emulator) runs"
            ) from error
        except (errors.BotoCoreError, ValueError) as error:
            raise self.failure(f"{at}: the request cannot be sent: {error}") from error


def _is_page(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is one of a web server or of a proxy."""
    return "html" in answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(
        "content-type", ""
    )


def _code_of(answer: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the message of an error. An emulator may write a code as `namespace#code`."""
    error = answer.get("Error", {})
    return str(error.get("Code", "")).rpartition("#")[2], str(error.get("Message") or "no message")


def _may_pass(answer: Mapping[str, Any]) -> bool:
    """Whether an error is of the service's load, or its fault."""
    return (
        _code_of(answer)[0] in _THROTTLED
        or answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) >= 500
    )


def _refused(service: str, code: str, text: str) -> str:
    if code in _THROTTLED:
        return (
            f"{service} still throttles requests after the pauses: {text} ({code}). Raise its "
            "capacity, or send less"
        )
    if code in _EXPIRED:
        return f"the credentials have expired: {text} ({code}). Sign in again, then start again"
    if code in _REFUSED:
        return (
            f"access refused: {text} ({code}). Check the credentials, the region, and what their "
            "policy allows"
        )
    return f"{text} ({code})"
