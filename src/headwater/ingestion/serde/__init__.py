"""Records to rows: JSON, CSV, Avro and Protobuf."""
