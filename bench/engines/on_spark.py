"""The job on Spark: `SPARK/bin/python on_spark.py SERVERS TOPIC EVENTS FOLDER JARS`.

Structured Streaming, state in RocksDB, a checkpoint a batch. One query for three
widths: each event is three rows. State is never dropped, which no run here is long enough to
notice.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

servers, topic, events, folder, jars = sys.argv[1:]
provider = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
report = {
    "spark.jars": ",".join(str(jar.resolve()) for jar in Path(jars).glob("*.jar")),
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "3g",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.streaming.stateStore.providerClass": provider,
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}
builder = SparkSession.builder.master("local[2]")
for name, value in report.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
read = spark.readStream.format("kafka").options(
    **{"kafka.bootstrap.servers": servers, "subscribe": topic, "startingOffsets": "earliest"}
)
row = f.from_json(
    f.col("value").cast("string"), "card string, amount double, authorised_at timestamp"
).alias("row")
rows = read.option("maxOffsetsPerTrigger", 250_000).load().select(row).select("row.*")
width = f.explode(f.array(*map(f.lit, (10, 60, 600))))
tile = f.floor(f.unix_timestamp("authorised_at") / f.col("width"))
tiles = (
    rows.withColumn("width", width)
    .groupBy("card", "width", tile.alias("tile"))
    .agg(f.count("*"), f.sum("amount"), f.max("amount"))
)
query = (
    tiles.writeStream.outputMode("update")
    .format("noop")
    .option("checkpointLocation", folder)
    .trigger(availableNow=True)
    .start()
)
query.awaitTermination()
seen = sum(batch["numInputRows"] for batch in query.recentProgress)
assert seen == int(events), seen
