"""Rows that a lake table deletes without writing their files again, as Spark writes them: by
deletion vectors and by delete files.
"""

import base64
import json
import struct
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Z85 = bytes.maketrans(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
)  # from Python's base 85 to that of ZeroMQ


def deletion_vector(path, file, positions):
    """Delete rows of a file of a Delta table by an inline deletion vector: a new version of the
    table.
    """
    log = Path(path) / "_delta_log"
    actions = [
        json.loads(line)
        for part in sorted(log.glob("*.json"))
        for line in part.read_text().splitlines()
    ]
    add = next(
        action["add"] for action in actions if "add" in action and action["add"]["path"] == file
    )
    metadata = next(action["metaData"] for action in actions if "metaData" in action)
    roaring = struct.pack("<iiHHi", 12346, 1, 0, len(positions) - 1, 16) + struct.pack(
        f"<{len(positions)}H", *sorted(positions)
    )
    content = struct.pack("<iqi", 1681511377, 1, 0) + roaring
    padded = content + b"\0" * (-len(content) % 4)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": base64.b85encode(padded).translate(Z85).decode(),
        "sizeInBytes": len(content),
        "cardinality": len(positions),
    }
    now = int(time.time() * 1000)
    new = [
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["deletionVectors"],
                "writerFeatures": ["deletionVectors"],
            }
        },
        {
            "metaData": metadata
            | {"configuration": metadata["configuration"] | {"delta.enableDeletionVectors": "true"}}
        },
        {
            "remove": {
                "path": file,
                "deletionTimestamp": now,
                "dataChange": True,
                "extendedFileMetadata": True,
                "partitionValues": {},
                "size": add["size"],
            }
        },
        {"add": add | {"deletionVector": vector, "modificationTime": now, "dataChange": True}},
        {"commitInfo": {"timestamp": now, "operation": "DELETE", "operationParameters": {}}},
    ]
    (log / f"{len(list(log.glob('*.json'))):020}.json").write_text(
        "\n".join(map(json.dumps, new)) + "\n"
    )


def delete_file(table, columns, *, equality=()):
    """Add a delete file to an Iceberg table: of positions (file_path, pos), or of equal values of
    the fields with these ids.
    """
    from pyiceberg.manifest import (
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestContent,
        ManifestEntry,
        ManifestEntryStatus,
        ManifestWriterV2,
        write_manifest_list,
    )
    from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
    from pyiceberg.table.snapshots import Operation, Snapshot, Summary
    from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
    from pyiceberg.typedef import Record

    class DeletesWriter(ManifestWriterV2):
        def content(self):
            return ManifestContent.DELETES

    parent = table.current_snapshot()
    number, sequence = parent.snapshot_id + 1, table.metadata.last_sequence_number + 1
    base = f"{table.location()}/{uuid.uuid4()}"
    pq.write_table(columns, base.removeprefix("file://") + "-deletes.parquet")
    file = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES if equality else DataFileContent.POSITION_DELETES,
        file_path=base + "-deletes.parquet",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=columns.num_rows,
        file_size_in_bytes=Path(base.removeprefix("file://") + "-deletes.parquet").stat().st_size,
        equality_ids=list(equality) or None,
    )
    file.spec_id = 0
    with DeletesWriter(
        UNPARTITIONED_PARTITION_SPEC,
        table.schema(),
        table.io.new_output(base + "-m.avro"),
        number,
        "null",
    ) as writer:
        writer.add_entry(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=number,
                sequence_number=None,
                file_sequence_number=None,
                data_file=file,
            )
        )
    manifests = [*parent.manifests(table.io), writer.to_manifest_file()]
    with write_manifest_list(
        2, table.io.new_output(base + "-snap.avro"), number, parent.snapshot_id, sequence, "null"
    ) as lists:
        lists.add_manifests(manifests)
    snapshot = Snapshot(
        snapshot_id=number,
        parent_snapshot_id=parent.snapshot_id,
        sequence_number=sequence,
        timestamp_ms=int(time.time() * 1000),
        manifest_list=base + "-snap.avro",
        summary=Summary(operation=Operation.DELETE),
        schema_id=table.schema().schema_id,
    )
    main = SetSnapshotRefUpdate(
        ref_name="main",
        type="branch",
        snapshot_id=number,
        max_ref_age_ms=None,
        max_snapshot_age_ms=None,
        min_snapshots_to_keep=None,
    )
    table.catalog.commit_table(table, (), (AddSnapshotUpdate(snapshot=snapshot), main))


def positions(file, of):
    """The columns of a position delete file."""
    schema = pa.schema(
        [
            pa.field(
                "file_path",
                pa.string(),
                nullable=False,
                metadata={"PARQUET:field_id": "2147483546"},
            ),
            pa.field(
                "pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}
            ),
        ]
    )
    return pa.table({"file_path": [file] * len(of), "pos": of}, schema=schema)
