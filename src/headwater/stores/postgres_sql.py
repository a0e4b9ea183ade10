"""The statements of the online store on PostgreSQL; `{schema}` is its prefix, quoted, and what else
is in braces is given with it.
"""

from __future__ import annotations

TABLES = """
-- Two that create one schema would fail; several statements are one transaction.
SELECT pg_advisory_xact_lock(8033);
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.entries (key bytea PRIMARY KEY, value bytea, through bigint)
WITH (fillfactor = 70);
ALTER TABLE {schema}.entries ALTER value SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS {schema}.commits
(writer text PRIMARY KEY, count bigint NOT NULL, made boolean NOT NULL, at timestamptz NOT NULL);
"""
BEGIN = """
INSERT INTO {schema}.commits VALUES (%b, %b, {made}, now()) ON CONFLICT (writer)
DO UPDATE SET count = EXCLUDED.count, made = EXCLUDED.made, at = EXCLUDED.at
WHERE commits.count < EXCLUDED.count RETURNING 1
"""
MADE = "SELECT made FROM {schema}.commits WHERE writer = %b AND count = %b"
FORGET = "DELETE FROM {schema}.commits WHERE at < now() - interval '1 day'"
HOLD = "INSERT INTO {schema}.entries (key) SELECT unnest(%b::bytea[]) ON CONFLICT DO NOTHING"
ABSENT = (
    "SELECT key, value IS NULL FROM {schema}.entries WHERE key = ANY(%b::bytea[]) ORDER BY key "
    "FOR UPDATE"
)
EQUAL = """
SELECT entries.key, entries.value = expected.value
FROM {schema}.entries
JOIN unnest(%b::bytea[], %b::bytea[]) AS expected (key, value) ON entries.key = expected.key
ORDER BY entries.key FOR UPDATE OF entries
"""
# of keys that many writers expect, and none of them changes
STILL = EQUAL.replace("FOR UPDATE", "FOR SHARE")
PUT = """
INSERT INTO {schema}.entries SELECT * FROM unnest(%b::bytea[], %b::bytea[], %b::bigint[])
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, through = EXCLUDED.through
WHERE entries.through IS NULL OR EXCLUDED.through >= entries.through
"""
DROP = (
    "DELETE FROM {schema}.entries WHERE key IN (SELECT key FROM {schema}.entries WHERE key = "
    "ANY(%b::bytea[]) ORDER BY key FOR UPDATE)"
)
RELEASE = "DELETE FROM {schema}.entries WHERE key = ANY(%b::bytea[]) AND value IS NULL"
GET = "SELECT key, value FROM {schema}.entries WHERE key = ANY(%b::bytea[]) AND value IS NOT NULL"
SCAN = """
SELECT key, {shown} FROM (
    SELECT key, value, sum(octet_length(value)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING)
        - octet_length(value) AS before
    FROM (
        SELECT key, value FROM {schema}.entries
        WHERE key {after} %b AND (%b::bytea IS NULL OR key < %b) AND value IS NOT NULL
        ORDER BY key LIMIT {page}
    ) AS page
) AS sized WHERE before <= {bytes} ORDER BY key
"""
ALL = "SELECT key, value FROM {schema}.entries WHERE value IS NOT NULL ORDER BY key"
SIZE = "SELECT pg_total_relation_size('{schema}.entries')"
HOLDER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted
AND (classid::bigint << 32) | objid::bigint = %b AND objsubid = 1
"""
