"""The members of a model's service that can be precomputed for given keys: views of these keys, and
features computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.definitions.feature_service import Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.request_feature import RequestFeature, RequestField


def items_of(model: Model) -> tuple[str, ...]:
    """The column of the candidates that a ranking puts in order, which a job finds itself."""
    return () if model.ranking is None else (model.ranking.item,)


def precomputed_views(model: Model, precomputed: Precomputed) -> tuple[FeatureView, ...]:
    """The views that a job can read: those of its keys alone, in a ranking also of the candidates;
    none of a list of keys.
    """
    known = {*precomputed.keys, *items_of(model)}
    views = (view for service in model.services for view in service.views)
    return tuple(
        {
            id(v): v
            for v in views
            if v.list_key is None and all(v.request_key(key) in known for key in v.keys)
        }.values()
    )


def precomputable(member: Member, views: Sequence[FeatureView], items: Sequence[str] = ()) -> bool:
    """Whether a job knows this feature: it reads these views alone, and no field of a request but
    the item of a ranking.
    """
    if isinstance(member, RequestFeature):
        return (
            set(member.fields) <= set(items)
            and bool(member.inputs)
            and all(ref.view in views for ref in member.inputs.values())
        )
    if isinstance(member, RequestField):
        return member.name in items
    return (member.view if isinstance(member, FeatureRef) else member) in views


def precomputed_members(model: Model, precomputed: Precomputed) -> list[Member]:
    """The features that a job knows, in order."""
    views, items = precomputed_views(model, precomputed), items_of(model)
    return [member for member in model.features.features if precomputable(member, views, items)]
