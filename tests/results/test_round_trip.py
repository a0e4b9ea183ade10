"""Every result type: its JSON is read as the same value, for any contents of its fields."""

import importlib
import json
import math
import pkgutil
from datetime import UTC, date, datetime

import pytest
from msgspec import inspect

import headwater.results
from headwater.results.result import Result

for module in pkgutil.iter_modules(headwater.results.__path__, "headwater.results."):
    importlib.import_module(module.name)


def below(kind):
    return [
        found
        for child in kind.__subclasses__()
        for found in (child, *below(child))
        if child.__module__.startswith("headwater.results.")
    ]


def value_of(kind, full):
    """A value of a type: with every optional part, or with none of them and NaN for each number."""
    match kind:
        case inspect.FloatType():
            return 0.25 if full else math.nan
        case inspect.IntType():
            return 7
        case inspect.BoolType():
            return full
        case inspect.StrType() | inspect.AnyType():
            return "é, words"
        case inspect.DateType():
            return date(2026, 3, 1)
        case inspect.DateTimeType():
            return datetime(2026, 3, 1, 4, 5, 6, 789, tzinfo=UTC)
        case inspect.NoneType():
            return None
        case inspect.LiteralType(values):
            return values[0 if full else -1]
        case inspect.UnionType(types):
            members = [member for member in types if not isinstance(member, inspect.NoneType)]
            return value_of(members[0], full) if full or len(members) == len(types) else None
        case inspect.DictType(_, value_type):
            return {"a": value_of(value_type, full)} if full else {}
        case inspect.ListType(item_type):
            return [value_of(item_type, full)] * 2 if full else []
        case inspect.VarTupleType(item_type):
            return (value_of(item_type, full),) if full else ()
        case inspect.TupleType(item_types):
            return tuple(value_of(item, full) for item in item_types)
        case inspect.StructType(cls, fields):
            return cls(**{field.name: value_of(field.type, full) for field in fields})
    raise NotImplementedError(kind)


RESULTS = sorted(set(below(Result)), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("full", [True, False], ids=["full", "least"])
@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_json_is_read_as_the_same_value(kind, full):
    made = value_of(inspect.type_info(kind), full)
    written = json.dumps(made.to_dict(), allow_nan=False)
    assert repr(kind.from_dict(json.loads(written))) == repr(made)
    assert json.dumps(kind.from_dict(json.loads(written)).to_dict()) == written


def test_the_results_of_the_main_verbs_are_among_them():
    assert {"AssessmentResult", "AttributionResult", "BacktestResult", "Decision", "Readiness"} <= {
        kind.__name__ for kind in RESULTS
    }
