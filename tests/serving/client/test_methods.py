"""The methods of the clients are those of the table of routes."""

import inspect
import runpy
from pathlib import Path

import headwater as hw
from headwater.serving.client import methods
from headwater.serving.http.routes import ROUTES

ROOT = Path(__file__).resolve().parents[3]


def test_the_generated_file_is_that_of_the_routes():
    generator = runpy.run_path(str(ROOT / "scripts/client_methods.py"))
    assert Path(methods.__file__).read_text() == generator["text"](), (
        "run `python scripts/client_methods.py`"
    )


def test_each_route_with_a_client_has_a_method_in_both():
    names = {route.client.name for route in ROUTES if route.client is not None}
    for kind, base in (
        (hw.client.Client, methods.Methods),
        (hw.client.AsyncClient, methods.AsyncMethods),
    ):
        public = {
            name
            for name, _ in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        } - {"close"}
        assert public == names
        assert all(name in vars(base) for name in names)
