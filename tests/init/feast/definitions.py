# ruff: noqa: B905, PLR0124
# A Feast repository with what teams write: string keys, renamed columns, streams, warehouses, on
# demand views in each mode.
from datetime import timedelta

import pandas as pd
from feast import (
    BigQuerySource,
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    KafkaSource,
    Project,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.aggregation import Aggregation
from feast.data_format import AvroFormat, JsonFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.stream_feature_view import stream_feature_view
from feast.types import Array, Float64, Int64, String

LIMIT = 3
project = Project(name="shop")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)

orders = FileSource(
    name="orders",
    path="orders.parquet",
    timestamp_field="ordered_at",
    created_timestamp_column="loaded_at",
    field_mapping={"amt": "amount"},
)
user_orders = FeatureView(
    name="user__orders",
    entities=[user],
    ttl=timedelta(hours=36),
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="amount", dtype=Float64),
        Field(name="items", dtype=Int64),
        Field(name="city", dtype=String),
        Field(name="basket", dtype=Array(String)),
    ],
    source=orders,
    owner="orders@example.org",
    description="the latest order",
)
lasting = FeatureView(
    name="lasting",
    entities=[user],
    ttl=timedelta(0),
    schema=[Field(name="user_id", dtype=String), Field(name="city", dtype=String)],
    source=orders,
)
pushed = PushSource(name="pushed_orders", batch_source=orders)
user_fresh = FeatureView(
    name="user_fresh",
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="items", dtype=Int64)],
    source=pushed,
)
clicks = KafkaSource(
    name="clicks",
    kafka_bootstrap_servers="broker:9092",
    topic="clicks",
    timestamp_field="ordered_at",
    message_format=JsonFormat("user_id string"),
    batch_source=orders,
)
user_clicks = FeatureView(
    name="user_clicks",
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="items", dtype=Int64)],
    source=clicks,
)
avro = KafkaSource(
    name="avro",
    kafka_bootstrap_servers="broker:9092",
    topic="avro",
    timestamp_field="ordered_at",
    message_format=AvroFormat("{}"),
    batch_source=orders,
)
of_avro = FeatureView(
    name="of_avro",
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="items", dtype=Int64)],
    source=avro,
)


@stream_feature_view(
    source=pushed,
    entities=[user],
    schema=[Field(name="user_id", dtype=String), Field(name="amount", dtype=Float64)],
    mode="python",
    ttl=timedelta(days=30),
    timestamp_field="ordered_at",
    aggregations=[
        Aggregation(column="amount", function="sum", time_window=timedelta(hours=1)),
        Aggregation(
            column="amount", function="count", time_window=timedelta(days=7), name="orders"
        ),
        Aggregation(column="amount", function="median", time_window=timedelta(days=7)),
    ],
)
def totals(df):
    return df


warehouse = BigQuerySource(name="warehouse", table="shop.sales", timestamp_field="day")
sales = FeatureView(
    name="sales",
    entities=[shop],
    schema=[Field(name="shop_id", dtype=Int64), Field(name="sold", dtype=Float64)],
    source=warehouse,
)
everywhere = FeatureView(
    name="everywhere", entities=[], schema=[Field(name="items", dtype=Int64)], source=orders
)

request = RequestSource(name="request", schema=[Field(name="offered", dtype=Float64)])


@on_demand_feature_view(
    sources=[user_orders, request],
    schema=[Field(name="over", dtype=Float64), Field(name="twice", dtype=Float64)],
)
def of_frames(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["over"] = inputs["offered"] - inputs["amount"]
    out["twice"] = inputs["amount"] * 2
    return out


@on_demand_feature_view(
    sources=[user_orders, request], schema=[Field(name="ratio", dtype=Float64)], mode="python"
)
def of_lists(inputs: dict) -> dict:
    return {
        "ratio": [
            None if a is None or a != a else o / a
            for o, a in zip(inputs["offered"], inputs["amount"])
        ]
    }


@on_demand_feature_view(
    sources=[user_orders], schema=[Field(name="many", dtype=Int64)], mode="python", singleton=True
)
def of_one(inputs: dict) -> dict:
    return {
        "many": int(
            inputs["items"] is not None
            and inputs["items"] == inputs["items"]
            and inputs["items"] > 3
        )
    }


@on_demand_feature_view(
    sources=[user_orders], schema=[Field(name="few", dtype=Int64)], mode="python", singleton=True
)
def of_limit(inputs: dict) -> dict:
    return {"few": int(inputs["items"] < LIMIT)}


@on_demand_feature_view(sources=[sales], schema=[Field(name="over", dtype=Float64)], mode="python")
def again(inputs: dict) -> dict:
    return {"over": inputs["sold"]}


checkout = FeatureService(
    name="checkout",
    features=[user_orders[["amount", "city"]], of_frames, of_lists[["ratio"]], lasting],
)
friends = FeatureService(
    name="friends",
    features=[
        user_orders.with_name("friend").with_join_key_map({"user_id": "friend_id"}),
        everywhere,
    ],
)
