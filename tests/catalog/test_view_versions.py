"""Plans and applies of a project with several versions of a view: what they say, and what they
refuse.
"""

import json

import pytest

import headwater as hw
from headwater.catalog.plan import applied
from headwater.definitions.view_versions import chosen_versions
from headwater.errors import UsageError
from headwater.models.promoted_views import PromotedViews
from tests.catalog.shop import model, view

V1 = view()
V2 = view(features=[hw.count(), hw.sum("amount")], version=2)


def project(*features, versions=(), **more):
    return hw.Project("shop", [model(list(features))], versions=list(versions), **more)


BOTH = project(V2, versions=[V1])


@pytest.fixture
def registry():
    """The registry of headwater's home: `churn`, trained on version 1 of `user`."""
    return hw.operations.ModelRegistry()


def trained(registry, number, *, promote=True):
    """A version of `churn` that was trained on a version of `user`."""
    pinned = BOTH.pinned("churn", {"user": number})
    manifest = {
        "task": "binary", "estimator": "x", "kept": {"format": "x", "file": "x", "digest": "x", "runs_code": False, "tolerance": 0.0},
        "features": list(pinned.features.feature_names), "kinds": [], "categories": {}, "view_versions": {"user": number},
    }  # fmt: skip
    registry.add(
        "churn",
        lambda folder: (folder / "manifest.json").write_text(json.dumps(manifest)),
        promote=promote,
    )


def test_a_version_beside_another_breaks_nothing(place, registry):
    trained(registry, 1)
    hw.apply(project(V1), place)
    planned = hw.plan(BOTH, place)
    assert [(c.kind, c.name, c.action, c.needs_backfill) for c in planned.changes] == [
        ("view", "user@2", "added", True),
        ("service", "churn_v1", "changed", False),
    ]
    assert (planned.breaking, planned.protected, planned.refused) == ((), (), ())
    assert (
        "  view user has several versions: user@1 (read by name), user@2 are all kept filled, "
        "each in tiles of its own"
    ) in str(planned)
    # an old version is kept on purpose
    assert {lint.rule for lint in planned.lints} & {"twins", "unread"} == set()
    assert hw.apply(BOTH, place).applied == 2
    assert set(applied("shop", place)) == {"user", "user@2"}
    assert not hw.plan(BOTH, place).changes


def test_a_version_that_a_served_model_reads_is_not_dropped(place, registry):
    trained(registry, 1)
    hw.apply(BOTH, place)
    with pytest.raises(
        UsageError,
        match=(
            "churn as defined, version 2, is served and reads user@1, which the project does not "
            "have; keep it in versions="
        ),
    ):
        hw.apply(project(V2), place, allow_destroy=True, allow_breaking=True)
    trained(registry, 2, promote=False)
    with pytest.raises(UsageError, match="version 2, is served and reads user@1"):
        hw.apply(project(V2), place, allow_destroy=True)
    registry.promote(3, "churn")
    done = hw.apply(project(V2), place, allow_destroy=True)
    assert [(c.name, c.action) for c in done.changes] == [("user", "removed")]
    assert set(applied("shop", place)) == {"user@2"}


def test_a_promoted_version_is_not_dropped(place, registry):
    trained(registry, 2)
    hw.apply(BOTH, place)
    promoted = PromotedViews(BOTH, registry)
    promoted.promote("user", 1)
    with pytest.raises(UsageError, match="user@1 is promoted, and the project does not have it"):
        hw.apply(project(V2), place, allow_destroy=True)
    promoted.promote("user", 2)
    assert hw.apply(project(V2), place, allow_destroy=True).applied == 2


def test_a_rollback_steps_over_a_version_that_was_dropped(registry):
    three = project(view(features=[hw.count()], version=3), versions=[V1, V2])
    promoted = PromotedViews(three, registry)
    for number in (2, 3):
        promoted.promote("user", number)
    left = PromotedViews(project(view(features=[hw.count()], version=3), versions=[V1]), registry)
    assert (left.before("user"), left.rollback("user"), left.current("user")) == (1, 1, 1)
    with pytest.raises(UsageError, match="no version of view 'user' was promoted before user@1"):
        left.rollback("user")


def test_a_level_is_not_named_like_a_version():
    with pytest.raises(
        hw.errors.DefinitionError,
        match="the level '2' is named like a version of a view; rename it",
    ):
        project(V2, versions=[V1], levels={"2": hw.batch("1h")})


@pytest.mark.parametrize(
    ("label", "nearest"),
    [
        ("user@3", "did you mean 'user@"),
        ("usr@2", "did you mean 'user@2'"),
        ("user", "did you mean 'user@"),
        ("user@live", "did you mean 'user@"),
    ],
)
def test_a_label_of_no_version_is_refused_with_the_nearest(label, nearest):
    with pytest.raises(
        UsageError, match=f"project 'shop' has no version '{label}' of a view.*{nearest}"
    ):
        chosen_versions(BOTH.view_versions, [label], "shop")
    with pytest.raises(UsageError, match="none of its views has several versions"):
        chosen_versions({}, ["user@2"], "shop")
