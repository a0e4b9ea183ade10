"""One word for one concept in names that a user writes: public names, their parameters and fields,
and options of the command line.
"""

import importlib
import inspect
import re

import pytest

from tests.cli.test_commands import commands
from tests.public_modules import NAMES

WORDS = {  # what is not said, and the word for it
    "ahead": "precomputed",
    # scores are a model's, as `backtest(scores=)` judges them
    "scored scoring": "precomputed, predictions",
    "arm arms side sides": "variant (an arm is an experiment's)",
    "paired detectable": "comparison, mde",
    "moment moments": "timestamp",
    "fate fates": "outcome",
    "stray strays": "orphaned",
    "beside aside asides": "what it is",
    "asks sights opens": "requests, visible ranges, open intervals",
    "tick means": "resources, progress",
    "parties": "third_party",
    "said told asked answered called": "a noun of what it is",
    "leash ledger intake draft shard": "link, queue, ingestor, commit, partition",
    "trust": "allow_pickle",
    "anew": "full_refresh",
}
WORD_OF = {old: new for olds, new in WORDS.items() for old in olds.split()}
OF_EXPERIMENTS = {
    "Arm": {"arm", "arms"},
    "ArmLog": {"arm"},
    "Experiment": {"arm", "arms"},
    "Project": {"arm"},
    "Service": {"arm"},
    "ExperimentEvidence": {"arm"},
}
"""Public names that are an experiment's, and the words that are right there."""
OPTIONS_OF_EXPERIMENTS = {"--arm"}


def not_of_the_field(name):
    """The words of a name that have another word.

    >>> not_of_the_field("MadeAhead"), not_of_the_field("asked_at")
    (['ahead'], ['asked'])
    """
    return [
        word.lower()
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
        if word.lower() in WORD_OF
    ]


def parameters(function):
    return [] if function is None else list(inspect.signature(function).parameters)


def names_of(name, value):
    """A public name, and what a user may write of it: parameters, fields, methods and theirs."""
    if not inspect.isclass(value):
        return [name, *(parameters(value) if callable(value) else [])]
    own = {member: found for member, found in vars(value).items() if not member.startswith("_")}
    methods = [
        parameter
        for found in own.values()
        if inspect.isfunction(found)
        for parameter in parameters(found)
    ]
    annotated = [field for field in getattr(value, "__annotations__", {}) if field[0] != "_"]
    return [name, *own, *methods, *annotated]


@pytest.mark.parametrize("package", NAMES)
def test_public_names_are_of_the_glossary(package):
    package = importlib.import_module(package)
    wrong = {
        f"{public}: {name}": WORD_OF[word]
        for public in package.__all__
        for name in names_of(public, getattr(package, public))
        for word in not_of_the_field(name)
        if word not in OF_EXPERIMENTS.get(public, ())
    }
    assert wrong == {}


def test_options_are_of_the_glossary():
    options = [
        (words, name)
        for words, command in commands()
        for param in command.params
        for name in getattr(param, "opts", ())
    ]
    wrong = {
        f"{words} {name}": WORD_OF[word]
        for words, name in options
        if name not in OPTIONS_OF_EXPERIMENTS
        for word in not_of_the_field(name)
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [("MadeAhead", ["ahead"]), ("asked_at", ["asked"]), ("--trust", ["trust"]), ("dataset", [])],
)
def test_the_words_of_a_name(name, words):
    assert not_of_the_field(name) == words
