"""Public names: loaded when they are first used, each in one place."""

import ast
import importlib
import inspect
import pydoc
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import headwater as hw
from tests.public_modules import NAMES


@pytest.mark.parametrize("package", NAMES)
def test_each_name_is_the_one_that_type_checkers_see(package):
    module = importlib.import_module(package)
    (checked,) = (
        node
        for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If)
    )
    seen = {
        alias.name: node.module
        for node in checked.body
        for alias in node.names
        if node.module != "headwater"
    }
    assert module.__all__ == sorted(seen)
    for name, home in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


def test_no_name_is_in_two_places():
    names = [name for package in NAMES for name in importlib.import_module(package).__all__]
    assert len(names) == len(set(names))


def test_headwater_has_what_a_project_file_and_a_notebook_need():
    assert len(hw.__all__) <= 80


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("serve", "operations"),
        ("Arm", "experiments"),
        ("Refits", "evaluation"),
        ("Client", "client"),
        ("average", None),
        ("mea", None),
    ],
)
def test_a_name_of_a_module_says_where_it_is(name, place):
    with pytest.raises(
        AttributeError,
        match=f"did you mean 'headwater.{place}.{name}'" if place else "did you mean 'mean'",
    ):
        getattr(hw, name)


@pytest.mark.parametrize("name", ["operations", "errors", "experiments", "evaluation", "client"])
def test_modules_are_names_too(name):
    code = f"import headwater as hw; print(hw.{name}.__name__)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == f"headwater.{name}\n"
    )


def test_a_misspelt_name_of_an_operator_gets_a_suggestion():
    with pytest.raises(
        AttributeError,
        match=r"'headwater\.operations' has no attribute 'open_stor'; did you mean 'open_store'",
    ):
        _ = hw.operations.open_stor


MODULES = {"client", "errors", "evaluation", "experiments", "operations"}


@pytest.mark.parametrize(
    ("package", "modules"), [(name, MODULES if name == "headwater" else set()) for name in NAMES]
)
def test_dir_lists_the_public_names_and_loads_none(package, modules):
    """In a new process: an earlier use of a name would list it."""
    code = f"""
        import sys
        import {package} as package
        print(*(name for name in dir(package) if not name.startswith("_")))
        print(*sorted(name for name in ("polars", "numba", "msgspec") if name in sys.modules))
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout
    names, loaded = shown.splitlines()
    assert set(names.split()) == {*importlib.import_module(package).__all__} | modules
    assert not loaded or package != "headwater"


@pytest.mark.slow
def test_a_prompt_completes_names():
    """By the standard library's completer, which asks dir() as IPython does."""
    code = (
        "import rlcompleter, headwater as hw; print(rlcompleter.Completer({'hw': "
        "hw}).attr_matches('hw.bac'))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'hw.backtest('" in shown


@pytest.mark.parametrize("package", NAMES)
def test_signatures_name_the_parameters(package):
    package = importlib.import_module(package)
    vague = []
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value) and not getattr(value, "_is_protocol", False):
            kinds = {parameter.kind for parameter in inspect.signature(value).parameters.values()}
            if {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds:
                vague.append(name)
    assert vague == []


def test_the_signature_of_a_definition_is_what_it_takes():
    shown = inspect.signature(hw.Source)
    assert list(shown.parameters)[:2] == ["name", "description"]
    assert shown.parameters["id_field"].default is None
    assert "Source(name" in pydoc.plain(pydoc.render_doc(hw.Source))
