"""Print the definitions of a Feast repository as JSON. Run by the Python that has Feast installed;
it imports nothing of headwater.

python feast_script.py REPO
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any


def _seconds(value: Any) -> float | None:
    return value.total_seconds() if isinstance(value, timedelta) and value else None


def _fields(fields: Any) -> list[dict[str, str]]:
    return [{"name": f.name, "dtype": str(f.dtype)} for f in fields]


def _source(source: Any) -> dict[str, Any] | None:
    if source is None:
        return None
    kind = type(source).__name__
    path = getattr(source, "path", None) or None
    kafka = getattr(source, "kafka_options", None)
    table = getattr(source, "table", None) or getattr(source, "query", None)
    return {
        "kind": kind,
        "name": source.name,
        "path": str(path) if path else None,
        "table": str(table) if table else None,
        "format": type(getattr(source, "file_format", None)).__name__,
        "timestamp_field": source.timestamp_field or None,
        "created": source.created_timestamp_column or None,
        "field_mapping": dict(source.field_mapping or {}),
        "batch": _source(getattr(source, "batch_source", None)),
        "servers": getattr(kafka, "kafka_bootstrap_servers", None),
        "topic": getattr(kafka, "topic", None),
        "message": type(getattr(kafka, "message_format", None)).__name__,
        "schema": _fields(getattr(source, "schema", None) or []) if kind == "RequestSource" else [],
    }


def _view(view: Any, keys: dict[str, list[str]]) -> dict[str, Any]:
    stream = getattr(view, "stream_source", None)
    return {
        "name": view.name,
        "keys": [key for name in view.entities for key in keys.get(name, [])],
        "features": _fields(
            f
            for f in view.features
            if f.name not in {key for name in view.entities for key in keys.get(name, [])}
        ),
        "ttl": _seconds(view.ttl),
        "source": _source(stream or view.batch_source),
        "batch": _source(view.batch_source),
        "aggregations": [
            {
                "column": a.column,
                "function": a.function,
                "window": _seconds(a.time_window),
                "name": getattr(a, "name", "") or None,
            }
            for a in getattr(view, "aggregations", None) or []
        ],
        "transformed": getattr(view, "udf", None) is not None
        or getattr(view, "feature_transformation", None) is not None,
        "of_views": [v.name for v in getattr(view, "source_views", None) or []],
        "description": view.description,
        "owner": view.owner,
        "tags": dict(view.tags or {}),
    }


def _plain(source: str) -> str:
    """The source of a function without its decorators."""
    source = inspect.cleandoc("\n" + source)
    node = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[node.lineno - 1 :])


def _used(function: Any, code: str) -> tuple[list[str], list[str]]:
    """The import statements of the function's module that bind names of its body, and the other
    such names of the module.
    """
    tree = ast.parse(Path(function.__code__.co_filename).read_text(encoding="utf-8"))
    names = {n.id for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name)}
    imports: list[str] = []
    others: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            used_aliases = [a for a in node.names if (a.asname or a.name).split(".")[0] in names]
            if used_aliases:
                node.names = used_aliases
                imports.append(ast.unparse(node))
        elif (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and node.name in names
            and node.name != function.__name__
        ):
            others.append(node.name)
        elif isinstance(node, ast.Assign):
            others += [t.id for t in node.targets if isinstance(t, ast.Name) and t.id in names]
    return imports, others


def _on_demand(view: Any) -> dict[str, Any]:
    function = getattr(view, "udf", None) or getattr(
        getattr(view, "feature_transformation", None), "udf", None
    )
    code: str = getattr(view, "udf_string", None) or ""
    imports: list[str] = []
    others: list[str] = []
    try:
        code = _plain(code)
        imports, others = _used(function, code)
    except (OSError, SyntaxError, AttributeError, IndexError):
        pass  # a lambda, or code of no file: it is reported as it is
    projections = [
        {"view": p.name, "features": [f.name for f in p.features]}
        for p in getattr(view, "source_feature_view_projections", {}).values()
    ]
    requests = [
        f for s in getattr(view, "source_request_sources", {}).values() for f in _fields(s.schema)
    ]
    return {
        "name": view.name,
        "mode": str(getattr(view.mode, "value", view.mode)),
        "singleton": bool(view.singleton),
        "function": getattr(function, "__name__", ""),
        "code": code,
        "imports": imports,
        "others": others,
        "features": _fields(view.features),
        "views": projections,
        "request": requests,
        "writes": bool(getattr(view, "write_to_online_store", False)),
    }


def _service(service: Any) -> dict[str, Any]:
    return {
        "name": service.name,
        "members": [
            {
                "view": p.name,
                "features": [f.name for f in p.features],
                "alias": p.name_alias or None,
                "keys": dict(p.join_key_map or {}),
            }
            for p in service.feature_view_projections
        ],
        "description": service.description,
    }


def main(repo: str) -> dict[str, Any]:
    """The repository's objects, as `feast apply` collects them."""
    os.chdir(repo)
    sys.path.insert(0, str(Path.cwd()))
    import feast
    from feast.repo_operations import parse_repo

    contents = parse_repo(Path.cwd())
    keys = {
        e.name: list(getattr(e, "join_keys", None) or [e.join_key])
        for e in contents.entities
        if e.name != "__dummy"
    }
    return {
        "version": feast.__version__,
        "project": contents.projects[0].name if contents.projects else None,
        "views": [
            _view(v, keys) for v in [*contents.feature_views, *contents.stream_feature_views]
        ],
        "on_demand": [_on_demand(v) for v in contents.on_demand_feature_views],
        "services": [_service(s) for s in contents.feature_services],
        "others": [
            f"{type(o).__name__} {o.name}"
            for o in [*getattr(contents, "label_views", []), *contents.permissions]
        ],
    }


if __name__ == "__main__":
    printed = sys.stdout
    sys.stdout = sys.stderr  # what the repository prints is not the answer
    json.dump(main(sys.argv[1]), printed)
