"""Tables that dbt has made: a name leads to the file or the table of the manifest, or to an error
that says what to do.
"""

import json

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError

ROWS = pl.DataFrame({"user": ["a", "b", "a"], "n": [1, 2, 3]}).with_columns(
    at=pl.datetime(2024, 5, 1, pl.col("n"), time_zone="UTC")
)


def node(name, kind="model", **more):
    given = {"name": name, "resource_type": kind, "unique_id": f"{kind}.shop.{name}", "config": {}}
    return given | more


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A project with tables of every kind; its files lie next to it."""
    monkeypatch.chdir(tmp_path)
    for name in ("daily", "raw", "named", "by_meta", "aliased"):
        ROWS.with_columns(of=pl.lit(name)).write_parquet(tmp_path / f"{name}.parquet")
    nodes = [
        node("daily", config={"materialized": "external", "location": "daily.parquet"}),
        node("named", config={"materialized": "external", "location": "{name}.parquet"}),
        node("plain", config={"materialized": "external"}, alias="aliased"),
        node("passing", config={"materialized": "ephemeral"}),
        node("orders", config={"materialized": "table"}, relation_name='"main"."orders"'),
        node("placed", config={"materialized": "table", "location": "daily.parquet"}),
        node("twice"),
        node("twice", "snapshot"),
        node("a_test", "test"),
    ]
    sources = [
        node("raw", "source", source_name="shop", config={"external": {"location": "raw.parquet"}}),
        node("remote", "source", source_name="shop", schema="main"),
        node(
            "by_meta", "source", source_name="shop", meta={"external_location": "by_meta.parquet"}
        ),
    ]
    path = tmp_path / "manifest.json"
    keyed = [{one["unique_id"]: one for one in part} for part in (nodes, sources)]
    path.write_text(json.dumps({"nodes": keyed[0], "sources": keyed[1]}))
    return str(path)


FILES = {
    "daily": "daily",
    "model.shop.daily": "daily",
    "named": "named",
    "plain": "aliased",
    "raw": "raw",
    "shop.raw": "raw",
    "source.shop.raw": "raw",
    "shop.by_meta": "by_meta",
}


@pytest.mark.parametrize(("name", "file"), FILES.items(), ids=FILES)
def test_a_name_leads_to_its_file(manifest, name, file):
    source = hw.Source(
        "s", history=hw.dbt(manifest, name), timestamp_field="at", select=["user", "of"]
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        features=[hw.count(), hw.last("of")],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame({"user": ["a", "b", "c"]}).with_columns(
        timestamp=pl.datetime(2024, 5, 2, time_zone="UTC")
    )
    found = hw.get_historical_features(view, asked)
    assert found["v__count"].to_list() == [2, 1, 0]
    assert found["v__last_of"].to_list() == [file, file, None]


WRONG = {
    "daly": (DataError, ["daly", "daily"]),
    "a_test": (DataError, ["a_test"]),
    "twice": (DataError, ["model.shop.twice", "snapshot.shop.twice", "one of these"]),
    "passing": (DataError, ["ephemeral", "table or view"]),
    "orders": (DefinitionError, ['"main"."orders"', "url="]),
    "placed": (DefinitionError, ['"placed"', "url="]),
    "shop.remote": (DefinitionError, ['"main"."remote"', "url="]),
}


@pytest.mark.parametrize(
    ("name", "error", "words"), [(name, *rest) for name, rest in WRONG.items()], ids=WRONG
)
def test_what_is_no_table_is_refused_when_it_is_read(manifest, name, error, words):
    with pytest.raises(error) as raised:
        read(manifest, name)
    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)


def read(manifest, name):
    source = hw.Source("s", history=hw.dbt(manifest, name), timestamp_field="at", select=["user"])
    view = hw.FeatureView(
        "v", source=source, keys=["user"], features=[hw.count()], freshness=hw.on_request()
    )
    return hw.get_historical_features(view, ROWS.select("user", timestamp="at"))


@pytest.mark.parametrize("name", ["orders", "model.shop.orders", "shop.remote"])
def test_a_table_of_a_database_is_read_there(manifest, tmp_path, name):
    table = "remote" if name == "shop.remote" else "orders"
    with pytest.importorskip("duckdb").connect(str(tmp_path / "shop.duckdb")) as database:
        at = ", ".join(
            f"('{user}', timestamptz '{at.isoformat()}')"
            for user, at in ROWS.select("user", "at").rows()
        )
        database.execute(
            f'create table main."{table}" as select * from (values {at}) as t("user", "at")'
        )
    source = hw.Source(
        "s",
        history=hw.dbt(manifest, name, url=f"duckdb:{tmp_path}/shop.duckdb"),
        timestamp_field="at",
        select=["user"],
    )
    view = hw.FeatureView(
        "v", source=source, keys=["user"], features=[hw.count()], freshness=hw.on_request()
    )
    asked = pl.DataFrame({"user": ["a", "b", "c"]}).with_columns(
        timestamp=pl.datetime(2024, 5, 2, time_zone="UTC")
    )
    assert hw.get_historical_features(view, asked)["v__count"].to_list() == [2, 1, 0]


def test_a_manifest_that_is_not_there_or_no_json_is_named(manifest, tmp_path):
    with pytest.raises(DataError, match="dbt parse"):
        read(str(tmp_path / "none.json"), "daily")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not a manifest of dbt"):
        read(manifest, "daily")


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_model_has_a_name(name):
    with pytest.raises(DefinitionError, match="ref"):
        hw.dbt("manifest.json", name)
