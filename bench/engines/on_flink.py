"""The job on Flink: `FLINK/bin/python on_flink.py SERVERS TOPIC EVENTS FOLDER JARS`.

SQL over the topic as it is, state in RocksDB, a checkpoint each second.
"""

import json
import sys
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment

servers, topic, events, folder, jars = sys.argv[1:]
table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
report = {
    "pipeline.jars": ";".join(f"file://{jar.resolve()}" for jar in Path(jars).glob("*.jar")),
    "parallelism.default": "2",
    "state.backend.type": "rocksdb",
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.incremental": "true",
    "execution.checkpointing.dir": f"file://{folder}/checkpoints",
    "table.exec.source.idle-timeout": "1 s",
    "taskmanager.memory.process.size": "2g",
}
for name, value in report.items():
    table.get_config().set(name, value)
table.execute_sql(f"""
    create table payments (card string, amount double, authorised_at string,
        ts as to_timestamp(replace(replace(authorised_at, 'T', ' '), 'Z', ''), 'yyyy-MM-dd HH:mm:ss.SSS'), watermark for ts as ts - interval '5' second)
    with ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'properties.group.id' = 'flink',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json')
""")
all_of_them = table.create_statement_set()
for width in (10, 60, 600):
    table.execute_sql(
        f"create table tiles{width} (card string, tile timestamp(3), n bigint, total double, high "
        "double) with ('connector' = 'blackhole')"
    )
    all_of_them.add_insert_sql(f"""
        insert into tiles{width} select card, window_start, count(*), sum(amount), max(amount)
        from table(tumble(table payments, descriptor(ts), interval '{width}' second(3))) group by card, window_start, window_end
    """)
done = all_of_them.execute().get_job_client().get_job_execution_result().result()
print(json.dumps({"seconds": done.get_net_runtime() / 1000}))
