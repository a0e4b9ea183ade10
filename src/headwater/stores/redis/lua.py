"""The Lua scripts that run atomically inside Redis, and the packing of their arguments.

With P the store's prefix, the server holds
    {P}:state, {P}:order      every key but records: a hash, and the same keys in order
    {P}:meta                  epoch, the server's identity in it, and n, how many commits have been
                              made
    {P}:epochs                every epoch and the n with which it began
    {P}:writer:ID             the last commit that a writer tried, and its n; for a day
    {P}:redo:...              on a cluster: the redo record of a commit that is decided
    {P}:lease:NAME            who holds it, until it expires
    {P:00}... to {P:ff}...    records, in 256 groups by a checksum of the key without its partition,
                              each group in one slot
    {P:00}:meta, {P}:marks    on a cluster: how many writes a group has seen, and how many it must
                              have seen
    {P:00}:applied            on a cluster, by writer: its turn, and the n of its last commit here
                              (see `log_first`)
The part between braces decides the slot.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from headwater.stores import NO_MARKS, Changes, Marks
from headwater.stores.keyspace import RECORD

GROUPS = 256
_BLOB = 1 << 25


@dataclass(frozen=True)
class Script:
    """A script by its text."""

    text: str

    @cached_property
    def sha(self) -> str:
        """The name that servers know it by."""
        return hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324, the protocol's own


@dataclass
class GroupCommit:
    """The expected values and the changes of a commit within one slot."""

    held: list[bytes] = field(default_factory=list)
    absent: list[bytes] = field(default_factory=list)
    put: list[bytes] = field(default_factory=list)
    drop: list[bytes] = field(default_factory=list)

    def packed(self, marks: Marks = NO_MARKS) -> bytes:
        """Keys and values in turn; behind them the marks of a cluster's groups."""
        flat = [item for tag, mark in marks.items() for item in (tag, b"%d" % mark)]
        return b"\x95" + b"".join(
            _array(items) for items in (self.held, self.absent, self.put, self.drop, flat)
        )


def _array(items: Sequence[bytes]) -> bytes:
    """MessagePack as servers read it: bytes have its type for strings, the only one that servers
    know.
    """
    count = len(items).to_bytes(4, "big")
    return (
        b"\xdd"
        + count
        + b"".join([b"\xdb" + len(item).to_bytes(4, "big") + item for item in items])
    )


def group(prefix: bytes, key: bytes) -> bytes:
    """The tag of the group that a record is in."""
    return b"{%b:%02x}" % (prefix, zlib.crc32(key) % GROUPS)


def groups(prefix: bytes) -> list[bytes]:
    """The tags of all groups."""
    return [b"{%b:%02x}" % (prefix, number) for number in range(GROUPS)]


def parted(
    prefix: bytes, changes: Changes, expect: Changes
) -> tuple[GroupCommit, dict[bytes, GroupCommit]]:
    """Split a commit into the part of the state and that of each group of records."""
    state = GroupCommit()
    records: dict[bytes, GroupCommit] = {}

    def place(key: bytes) -> tuple[GroupCommit, bytes]:
        if not key.startswith(RECORD):
            return state, key
        tag = group(prefix, key)
        return records.setdefault(tag, GroupCommit()), tag + key

    for key, value in expect.items():
        target, name = place(key)
        target.absent.append(name) if value is None else target.held.extend((name, value))
    for key, value in changes.items():
        target, name = place(key)
        target.drop.append(name) if value is None else target.put.extend((name, value))
    return state, records


def blobs(parts: Mapping[bytes, GroupCommit]) -> Iterator[bytes]:
    """The parts packed together, in pieces that a server takes."""
    joined, size = GroupCommit(), 0
    for group_commit in parts.values():
        joined.held += group_commit.held
        joined.absent += group_commit.absent
        joined.put += group_commit.put
        joined.drop += group_commit.drop
        size += sum(map(len, group_commit.put)) + sum(map(len, group_commit.held))
        if size > _BLOB:
            yield joined.packed()
            joined, size = GroupCommit(), 0
    yield joined.packed()


_COMMON = """
-- New after a restart, like the run id, and also after a replica became the primary, which a server
-- may be twice in one run.
local function identity()
  return string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
end
local function differs(part, read)
  for i = 1, #part[1], 2 do
    if read(part[1][i]) ~= part[1][i + 1] then return part[1][i] end
  end
  for i = 1, #part[2] do
    if read(part[2][i]) then return part[2][i] end
  end
end
local function record(key) return redis.call('GET', key) end
-- What a record is complete through: its second word, in halves, since numbers in Lua hold no more
-- than 53 bits.
local function through(word)
  if #word < 8 then return -1, 4294967295 end
  local low, high = struct.unpack('<I4i4', word)
  return high, low
end
local function apply(part)
  local outrun = 0
  for i = 1, #part[3], 2 do
    local key, value = part[3][i], part[3][i + 1]
    local high, low = through(redis.call('GETRANGE', key, 8, 15))
    local mine, rest = through(string.sub(value, 9, 16))
    if mine > high or (mine == high and rest >= low) then
      redis.call('SET', key, value)
    else
      outrun = outrun + 1
    end
  end
  for i = 1, #part[4] do redis.call('DEL', part[4][i]) end
  return outrun
end
-- Whether all that a part changes is as it would be afterwards.
local function made(part)
  for i = 1, #part[3], 2 do
    if record(part[3][i]) ~= part[3][i + 1] then return false end
  end
  for i = 1, #part[4] do
    if record(part[4][i]) then return false end
  end
  return #part[3] + #part[4] > 0
end
-- The turn of a writer in a group, the n of its last commit here, and who fenced it.
local function applied(base, writer)
  local applied = redis.call('HGET', base .. ':applied', writer) or '0 0 '
  local turn, n, by = string.match(applied, '(%d+) (%d+) (%w*)')
  return tonumber(turn), tonumber(n), by
end
"""

COMMIT = Script(
    _COMMON
    + """
-- KEYS: {P}. ARGV: epoch, writer, count of its commits, the state's part, parts of records.
local base, meta = KEYS[1], KEYS[1] .. ':meta'
local found = redis.call('HMGET', meta, 'epoch', 'server', 'n')
if found[1] ~= ARGV[1] or found[2] ~= identity() then return {'epoch'} end
local writer = base .. ':writer:' .. ARGV[2]
local last = redis.call('GET', writer)
if last and tonumber(string.match(last, '%d+')) >= tonumber(ARGV[3]) then return {'late'} end
local state, records = cmsgpack.unpack(ARGV[4]), {}
local other = differs(state, function(key) return redis.call('HGET', base .. ':state', key) end)
for i = 5, #ARGV do
  records[i] = cmsgpack.unpack(ARGV[i])
  other = other or differs(records[i], record)
end
if other then return {'held', other} end
local outrun = 0
for i = 5, #ARGV do outrun = outrun + apply(records[i]) end
for i = 1, #state[3], 2 do
  redis.call('HSET', base .. ':state', state[3][i], state[3][i + 1])
  redis.call('ZADD', base .. ':order', 0, state[3][i])
end
for i = 1, #state[4] do
  redis.call('HDEL', base .. ':state', state[4][i])
  redis.call('ZREM', base .. ':order', state[4][i])
end
for i = 1, #state[5], 2 do
  local mark = redis.call('HGET', base .. ':marks', state[5][i])
  if not mark or tonumber(mark) < tonumber(state[5][i + 1]) then
    redis.call('HSET', base .. ':marks', state[5][i], state[5][i + 1])
  end
end
local n = redis.call('HINCRBY', meta, 'n', 1)
redis.call('SET', writer, ARGV[3] .. ' ' .. n, 'EX', 86400)
return {'ok', n, outrun}
"""
)

RESOLVE = Script("""
-- After an answer that never came. KEYS: {P}. ARGV: writer, count. Was the commit made? If not, it
-- never will be.
local writer = KEYS[1] .. ':writer:' .. ARGV[1]
local count, n = string.match(redis.call('GET', writer) or '0 0', '(%d+) (%d+)')
if count == ARGV[2] and n ~= '0' then return {'ok', tonumber(n), 0} end
redis.call('SET', writer, ARGV[2] .. ' 0', 'EX', 86400)
return {'not'}
""")

GROUP = Script(
    _COMMON
    + """
-- Write a cluster's records of one group. KEYS: {P:00}. ARGV: the part, then of a writer's commit,
-- the writer, its turn, and n. A commit that was applied here is not applied again; a writer of an
-- earlier turn writes no more. A commit without a writer may come twice too: where the records are
-- not as expected, they may be as this call has left them.
local meta = KEYS[1] .. ':meta'
if redis.call('HGET', meta, 'server') ~= identity() then return {'epoch'} end
local part, mine = cmsgpack.unpack(ARGV[1]), nil
if ARGV[2] then
  local turn, n, by = applied(KEYS[1], ARGV[2])
  if turn > tonumber(ARGV[3]) then return {'held', ARGV[2]} end
  if n >= tonumber(ARGV[4]) then -- written again, for WAIT to wait for
    redis.call('HSET', KEYS[1] .. ':applied', ARGV[2], turn .. ' ' .. n .. ' ' .. by)
    return {'ok', tonumber(redis.call('HGET', meta, 'n') or '0'), 0}
  end
  mine = ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. by
end
local other = differs(part, record)
if other and (mine or not made(part)) then return {'held', other} end
local outrun = apply(part)
if mine then redis.call('HSET', KEYS[1] .. ':applied', ARGV[2], mine) end
return {'ok', redis.call('HINCRBY', meta, 'n', 1), outrun}
"""
)

FENCE = Script(
    _COMMON
    + """
-- Give a writer of one group its next turn. KEYS: {P:00}. ARGV: the writer, the turn, the name of
-- this call, which may come twice. Returns ok and the n of its last commit here; ahead where that
-- turn, or a later one, is there of another call.
if redis.call('HGET', KEYS[1] .. ':meta', 'server') ~= identity() then return {'epoch'} end
local turn, n, by = applied(KEYS[1], ARGV[1])
if turn > tonumber(ARGV[2]) or (turn == tonumber(ARGV[2]) and by ~= ARGV[3]) then
  return {'ahead'}
end
redis.call('HSET', KEYS[1] .. ':applied', ARGV[1], ARGV[2] .. ' ' .. n .. ' ' .. ARGV[3])
return {'ok', n}
"""
)

EMPTY = Script(
    _COMMON
    + """
-- Begin a group again on the server that it is on. KEYS: {P:00}. ARGV: how many commits it is to
-- have seen at least, a turn, the name of this call, writers: none of their commits is here, and
-- they write in turns from this one on.
local base, n = KEYS[1], tonumber(redis.call('HGET', KEYS[1] .. ':meta', 'n') or '0')
redis.call('HSET', base .. ':meta', 'server', identity(), 'n', math.max(n, tonumber(ARGV[1])))
redis.call('DEL', base .. ':applied')
for i = 4, #ARGV do redis.call('HSET', base .. ':applied', ARGV[i], ARGV[2] .. ' 0 ' .. ARGV[3]) end
return 1
"""
)

SAME = Script(
    _COMMON
    + """
-- Whether a group is on the server it was on. KEYS: {P:00}.
if redis.call('HGET', KEYS[1] .. ':meta', 'server') == identity() then return 1 end
return 0
"""
)

ACCEPT = Script(
    _COMMON
    + """
-- Go on with the server that a group is on now, if it holds all. KEYS: {P:00}. ARGV: how many
-- commits it must have seen.
local n = tonumber(redis.call('HGET', KEYS[1] .. ':meta', 'n') or '0')
if n < tonumber(ARGV[1]) then return n end
redis.call('HSET', KEYS[1] .. ':meta', 'server', identity(), 'n', n)
return -1
"""
)

ENTER = Script(
    _COMMON
    + """
-- Make the store, or go on with it. KEYS: {P}. ARGV: a name for a new epoch, the client's epoch (''
-- for none) and n, 'read' or 'write', '1' if an epoch must begin. Answers ok with epoch and n, or
-- none, emptied, or lost with the commits that are left of the client's epoch.
local base, meta, server = KEYS[1], KEYS[1] .. ':meta', identity()
local found = redis.call('HMGET', meta, 'epoch', 'server', 'n')
local epoch = found[1]
if not epoch then
  if ARGV[2] ~= '' then return {'emptied'} end
  if ARGV[4] == 'read' then return {'none'} end
  redis.call('HSET', meta, 'epoch', ARGV[1], 'server', server, 'n', 0)
  redis.call('RPUSH', base .. ':epochs', ARGV[1] .. ' 0')
  return {'ok', ARGV[1], 0}
end
local n = tonumber(found[3])
if ARGV[4] == 'write' and (found[2] ~= server or ARGV[5] == '1') then
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch, 'server', server)
  redis.call('RPUSH', base .. ':epochs', epoch .. ' ' .. found[3])
  redis.call('LTRIM', base .. ':epochs', -1000, -1)
end
if ARGV[2] ~= '' then
  local left = -1
  for _, line in ipairs(redis.call('LRANGE', base .. ':epochs', 0, -1)) do
    local name, began = string.match(line, '(%w+) (%d+)')
    if left >= 0 then left = math.min(left, tonumber(began)) end
    if name == ARGV[2] then left = n end
  end
  if left < tonumber(ARGV[3]) then return {'lost', left} end
end
return {'ok', epoch, n}
"""
)

SCAN = Script("""
-- A page. KEYS: {P}. ARGV: the least key, the least key behind, 'values' or 'sizes', how many keys
-- and bytes at most.
local keys = redis.call('ZRANGEBYLEX', KEYS[1] .. ':order', ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[4])
local out, taken = {}, 0
for i = 1, #keys do
  local size = redis.call('HSTRLEN', KEYS[1] .. ':state', keys[i])
  taken = taken + size
  out[2 * i - 1] = keys[i]
  out[2 * i] = ARGV[3] == 'values' and redis.call('HGET', KEYS[1] .. ':state', keys[i]) or size
  if ARGV[3] == 'values' and taken > tonumber(ARGV[5]) then break end
end
return out
""")

ACQUIRE = Script("""
-- Take a lease that is free. KEYS: its key. ARGV: who, milliseconds. The call may come twice, and
-- finds what it has taken.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
  or redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return 0
""")

RENEW = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")

RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
""")
