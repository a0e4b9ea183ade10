"""Envelopes of Debezium as its connectors write them: JSON with and without the schema, and Avro as
Confluent's converter makes it.
"""

import base64
import io
import struct

POSTGRES = {
    "version": "3.2.0.Final",
    "connector": "postgresql",
    "name": "PostgreSQL_server",
    "ts_ms": 1559033904863,
    "ts_us": 1559033904863123,
    "ts_ns": 1559033904863123000,
    "snapshot": "false",
    "db": "postgres",
    "sequence": '["24023119","24023128"]',
    "schema": "public",
    "table": "customers",
    "txId": 555,
    "lsn": 24023128,
    "xmin": None,
}
# other types of Kafka Connect have the same name in Avro
_AVRO = {"int16": "int", "int32": "int", "int64": "long"}
# of Kafka Connect's own types
_LOGICAL = {
    "Decimal": "decimal",
    "Date": "date",
    "Time": "time-millis",
    "Timestamp": "timestamp-millis",
}


def envelope(op, before=None, after=None, source=POSTGRES, **more):
    return {
        "before": before,
        "after": after,
        "source": source,
        "op": op,
        "ts_ms": 1559033904961,
        "ts_us": 1559033904961654,
    } | more


def with_schema(payload, *fields):
    """As a converter with schemas.enable=true writes it. fields: name, type and name of the type,
    with its parameters.
    """
    row = [
        {"type": kind, "optional": True, "field": name}
        | ({"name": form, "version": 1} if form else {})
        | ({"parameters": more} if more else {})
        for name, kind, form, more in fields
    ]
    schema = {
        "type": "struct",
        "fields": [
            {
                "type": "struct",
                "fields": row,
                "optional": True,
                "name": "server.customers.Value",
                "field": "before",
            },
            {
                "type": "struct",
                "fields": row,
                "optional": True,
                "name": "server.customers.Value",
                "field": "after",
            },
            {"type": "string", "optional": False, "field": "op"},
            {"type": "int64", "optional": True, "field": "ts_ms"},
        ],
        "optional": False,
        "name": "server.customers.Envelope",
    }
    return {"schema": schema, "payload": payload}


def avro_schema(*fields, names=True):
    """The schema that Confluent's converter registers. fields: as of `with_schema`. names: whether
    it has those of Kafka Connect.
    """
    row = [
        {"name": name, "type": ["null", _avro_type(*kind, names=names)], "default": None}
        for name, *kind in fields
    ]
    value = {
        "type": "record",
        "name": "Value",
        "fields": row,
        "connect.name": "server.customers.Value",
    }
    source = [
        *(
            {"name": name, "type": ["null", "string"], "default": None}
            for name in ("connector", "db", "table", "file")
        ),
        *(
            {"name": name, "type": ["null", "long"], "default": None}
            for name in ("ts_ms", "ts_us", "lsn", "pos")
        ),
    ]
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "server.customers",
        "fields": [
            {"name": "before", "type": ["null", value], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {
                "name": "source",
                "type": {
                    "type": "record",
                    "name": "Source",
                    "namespace": "io.debezium.connector",
                    "fields": source,
                },
            },
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": None},
            {"name": "ts_us", "type": ["null", "long"], "default": None},
        ],
        "connect.version": 2,
        "connect.name": "server.customers.Envelope",
    }


def _avro_type(kind, form, parameters, *, names):
    if kind == "array":
        return {"type": "array", "items": ["null", "long"]}
    if kind == "struct":
        inner = [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]
        return {
            "type": "record",
            "name": "VariableScaleDecimal",
            "namespace": "io.debezium.data",
            "fields": inner,
            "connect.name": form,
        }
    made = {"type": _AVRO.get(kind, kind)}
    if names and form:
        made |= {"connect.version": 1, "connect.name": form} | (
            {"connect.parameters": parameters} if parameters else {}
        )
    own = form.rpartition(".")[2]
    if form.startswith("org.apache.kafka.connect.data."):
        made |= {"logicalType": _LOGICAL[own]} | (
            {"scale": int(parameters["scale"]), "precision": 38} if own == "Decimal" else {}
        )
    return made if len(made) > 1 else made["type"]


def in_avro(payload, schema, number=None):
    """An envelope as one record; number: the id of its schema in a registry. What JSON has in base
    64 is bytes here.
    """
    import fastavro

    raw = _without_logical(schema)
    images = {name: payload.get(name) and _raw(payload[name], raw) for name in ("before", "after")}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(raw), payload | images)
    return (b"" if number is None else struct.pack(">bI", 0, number)) + out.getvalue()


def _without_logical(schema):
    if isinstance(schema, list):
        return [_without_logical(member) for member in schema]
    if isinstance(schema, dict):
        return {
            name: _without_logical(member)
            for name, member in schema.items()
            if name != "logicalType"
        }
    return schema


def _raw(row, schema):
    """A row of JSON with the bytes of Avro."""
    kinds = {field["name"]: field["type"][1] for field in schema["fields"][0]["type"][1]["fields"]}
    return {name: _raw_value(value, kinds.get(name)) for name, value in row.items()}


def _raw_value(value, kind):
    name = kind["type"] if isinstance(kind, dict) else kind
    if isinstance(value, dict) and name == "record":
        return value | {"value": base64.b64decode(value["value"])}
    return base64.b64decode(value) if name == "bytes" and isinstance(value, str) else value
