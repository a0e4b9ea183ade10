"""`hw.operations.serve`: a project's service over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from headwater import clock, settings
from headwater.definitions.checks import Spelled
from headwater.definitions.definition import Readable
from headwater.definitions.project import Project, checked_call
from headwater.errors import DataError
from headwater.journal.serving_log import ServedLog
from headwater.models.experiment_store import ExperimentStore
from headwater.models.running_services import ServiceRecord
from headwater.online.predictor import Scorer
from headwater.serving.http.access_log import RequestLog
from headwater.serving.http.app import App
from headwater.serving.http.auth import check_bind
from headwater.serving.http.console_proxy import ConsoleProxy
from headwater.serving.metrics.multiprocess import MultiprocessMetrics
from headwater.serving.process.ingest_process import address
from headwater.serving.process.supervisor_link import SupervisorLink
from headwater.serving.process.uvicorn_server import ServerOptions, serving
from headwater.serving.service import Service
from headwater.serving.third_party.fetcher import OnAnswer
from headwater.stores import OnlineStore
from headwater.training.train import Trained

HTTP = "127.0.0.1:8320"

_DRAIN: Final = 1.0  # seconds in which a stopping worker closes its connections


@dataclass(frozen=True)
class ServeOptions(Readable, metaclass=Spelled):
    """What an operator may set of a service, besides models and addresses.

    Args:
        forward_to: hosts besides this machine that pushed events may be forwarded to; the online
            store has the address of ingestion.
        log: the access log, one JSON line a request.
        log_sample: the share of responses below status 400 that are logged; all others are.
        serving_log: the log of features, predictions, statuses and ages.
        on_third_party: called with each response of a third party, such as `AnswerLog.add`; it must
            not block.
        now: the clock of request times, microseconds since 1970 UTC; for replays.
        allow_pickle: as for `hw.operations.Service`.
        supervised: for a worker of `headwater serve --workers`, its link to the supervisor.
        experiments: as for `hw.operations.Service`.
        console: HOST:PORT of a `headwater console`, which is then also under /console.
        traces: a collector that takes OTLP over HTTP, such as "http://127.0.0.1:4318": a span of
            each request goes there (extra `otel`). "" takes that of OTEL_EXPORTER_OTLP_ENDPOINT;
            None makes no spans.

    >>> ServeOptions(log_sample=0.1)
    ServeOptions(log_sample=0.1)
    """

    forward_to: Sequence[str] = ()
    log: TextIO | None = None
    log_sample: float = 1.0
    serving_log: ServedLog | None = None
    on_third_party: OnAnswer | None = None
    now: Callable[[], int] = clock.now_micros
    allow_pickle: bool = False
    supervised: SupervisorLink | None = None
    experiments: ExperimentStore | None = None
    console: str | None = None
    traces: str | None = None


@contextmanager
@checked_call
def serve(
    project: Project,
    store: OnlineStore | str | None = None,
    *,
    listen: str = HTTP,
    models: str | Path | Mapping[str, Scorer | Trained] | None = None,
    levels: Sequence[str] = (),
    tokens: str | Path | None = None,
    data_dir: str | Path | None = None,
    options: ServeOptions | None = None,
) -> Iterator[str]:
    """Serve a project over HTTP while the context lasts, as `headwater serve` does; yields the URL.

    Args:
        project: its feature services and models are served.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        listen: HOST:PORT to listen on.
        models, levels, data_dir: as for `hw.operations.Service`.
        tokens: the file of tokens; None is `tokens.json` in headwater's home, and without that
            file, only this machine is served.
        options: logs, the clock of requests, hosts that events are forwarded to.

    Raises:
        UsageError: the address is in use, or not a loopback one while there are no tokens; an
            unknown level; a running experiment was started with other definitions.
        StoreError: the store cannot be opened.

    >>> import headwater as hw, httpx
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     with hw.operations.serve(project, store, listen="127.0.0.1:8329", models={}) as url:
    ...         answer = httpx.post(f"{url}/v1/features/churn_v1", json={"row": {"user": 1}}).json()
    >>> answer["features"]["user__count_1d"]["status"]
    'present'
    """
    host, port = address(listen)
    options = options or ServeOptions()
    home = settings.home() / "tokens.json"
    tokens_file = Path(tokens) if tokens is not None else home if home.exists() else None
    check_bind(host, tokens_file)
    with (
        Service(
            project,
            store,
            models=models,
            levels=levels,
            data_dir=data_dir,
            allow_pickle=options.allow_pickle,
            experiments=options.experiments,
        ) as service,
        ExitStack() as stack,
    ):
        service.unready()  # compiles and loads before the first request
        with suppress(DataError):  # tried again soon, and then logged
            service.experiments.refresh()
        app = App(
            service,
            tokens=tokens_file,
            log=RequestLog(options.log, sample=options.log_sample),
            served=options.serving_log,
            on_answer=options.on_third_party,
            now=options.now,
            forward_to=options.forward_to,
        )
        if service.models_folder is not None:
            record = ServiceRecord(service.models_folder, project.name, f"http://{listen}")
            stack.callback(record.close)
            app.followed = lambda: record.write(service.loaded())
            app.followed()
        app.console = None if options.console is None else ConsoleProxy(options.console)
        if options.traces is not None:
            from headwater.serving.http.request_spans import RequestSpans

            app.trace(RequestSpans(options.traces, service=project.name))
        supervised = options.supervised
        if supervised is None:
            options_here = ServerOptions(begun=lambda _: app.begin())
            with serving(app, host, port, closing=app.close, options=options_here) as url:
                yield url
            return
        app.others = supervised.others
        shared = MultiprocessMetrics(supervised, app.numbers.collect)
        app.metrics, app.beat = shared.text, shared.beat

        def begun(loop: asyncio.AbstractEventLoop) -> None:
            app.begin()
            supervised.answer_pings(loop)

        limits = ServerOptions(
            supervised.listener,
            shared=lambda: not supervised.others(),  # unless the whole service is stopping
            drain=min(_DRAIN, supervised.grace / 2),
            grace=supervised.grace / 2,
            begun=begun,
        )
        with serving(app, host, port, closing=app.close, options=limits) as url:
            supervised.watch(app.readiness.reasons)
            yield url
