"""Compiled loops that compute feature values from the words of records. Strings are ordinals in a
record.

The views of a request are answered in one call, by a plan: int64 words. How many views, where the
section of each begins, how many words the times take, how many the room before the records, how
many features have strings, and which these are (`read_kernels`). A section is SECTION words (what
they are, `state.read_plan.plan` says), the windows (length, hop, offset; length -1 of a lifetime),
the program of `kernel.layers`, the state of no event, the kind of each array
(`state.tiles`), and WIDTH words for each feature.

Features whose states have entries, for one key of a view: each by the loop of its function;
lists and maps go into a buffer of items.

A compiled loop that copies the strings of an answer one after the other, so that Python makes
all of them in one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from headwater.aggregations.reads import (
    DIFFERENT,
    DISTINCT,
    FREQUENT,
    LEAST_VALUES,
    MAP,
    NEWEST,
    OPEN_AGE,
    OPEN_COUNT,
    PERCENTILE,
    RECENT,
)
from headwater.definitions.checks import SECOND
from headwater.kernel.addresses import borrowed
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import ADD, DECAY, GREATEST, LEAST, PICK, first_at, merged, paired
from headwater.state.entry_kernels import (
    INNER_WORD,
    WIDTH,
    distinct_count,
    entry_ranges,
    finished,
    least,
    map_of,
    most_frequent,
    open_intervals,
    percentile,
    recent,
    tallied,
)
from headwater.state.record import section_at, size_of
from headwater.state.tiles import ALL, FLOAT, HEAD, LENGTH_BITS, TEXT, located, merge_strings, spelt

SECTION = 14

_BENCH = 128  # tiles of a key up to which no memory is taken for a column of them

PRESENT, EMPTY, MISSING, EXPIRED, _, OVERFLOW = range(6)


def scratch_words(views: Sequence[tuple[int, int, int]]) -> int:
    """The words of the room that a plan for these views leaves before the records: of each its
    arrays, windows, and records of a key.
    """
    arrays, windows, records = (
        (max(sizes) for sizes in zip(*views, strict=True)) if views else (0, 0, 0)
    )
    states = max((arrays * windows for arrays, windows, _ in views), default=0)
    begins = len(views) + sum(records for _, _, records in views)
    return states + 2 * windows + records * (arrays + 2) + 2 * windows * records + _BENCH + begins


@njit()
def answer(words, plan, keys, equal, out, variable, texts):  # type: ignore[no-untyped-def]
    """The features of some views for `keys` keys; how many are null, or -1 where a record is of
    another format.

    words: T of each read version, and by when a thing must be known in each; a section of no tiles;
    room for what the loops keep of one key (`scratch_words`); then the records, key after key, as
    many for each as the view's section says, of each view that is the first to read from its place.
    A record says where each view's section begins (`record`); where a key has several records,
    their ordinals are changed. equal: int64 (groups of views that are read by the same keys, keys),
    the number of each key among the distinct ones, in the order in which these come, which alone
    have records; empty where all keys are distinct. out: the values, int64 (features, keys),
    float64 bit by bit where a feature is one, else as `tiles` says; a byte each, its
    status; and one, 1 where it is null; then the items of lists and maps. variable: None where no
    feature's state has entries: then the loops of `read_kernels` are not compiled either.
    texts: room for strings, as of `joined`; None where no feature has any.
    """
    words, plan, out = borrowed(words), borrowed(plan), borrowed(out)
    nulls, size, room, most, windows, arrays = 0, 0, 0, 0, 0, 0
    # not a literal: a literal has a type of its own, and numba would compile every function below
    # once more
    used = np.int64(0)
    for view in range(plan[0]):
        at = plan[1 + view]
        size += plan[at + 3]
        room, most, windows = (
            max(room, plan[at] * plan[at + 1]),
            max(most, plan[at + 4]),
            max(windows, plan[at + 1]),
        )
        arrays = max(arrays, plan[at])
    a = plan[1 + plan[0]] + HEAD
    b, c, d, e = (
        a + room,
        a + room + 2 * windows,
        a + room + 2 * windows + most,
        a + room + 2 * windows + most * (arrays + 2),
    )
    f, g = e + 2 * windows * most, e + 2 * windows * most + _BENCH
    states, edges, starts, bench = words[a:b], words[b:c], words[c:d], words[f:g].view(np.float64)
    places, tiles, strings = (
        words[d:e].reshape(most, arrays + 1),
        words[e:f].reshape(windows, most, 2),
        words[:0],
    )
    begins, first_record = _begins(words, plan, keys, equal, words[g : a + plan[2 + plan[0]]])
    if len(first_record) == 0 and plan[0] > 0:
        return -1
    values = out[: size * keys]
    tail, items = out[size * keys :].view(np.uint8), out[size * keys + (2 * size * keys + 7) // 8 :]
    statuses, is_null = tail[: size * keys], tail[size * keys : 2 * size * keys]
    reals, floats = words.view(np.float64), values.view(np.float64)
    numbers, first_of = (
        states.view(np.float64),
        np.empty(keys, np.int64) if len(equal) > 0 else words[:0],
    )
    for view in range(plan[0]):
        at, distinct = plan[1 + view], 0
        columns, group, T, known = (
            plan[at],
            plan[at + 8],
            words[plan[at + 10]],
            words[plan[at + 11]],
        )
        first = _kinds(plan, at) + columns
        kinds = plan[first - columns : first]
        _edges(plan, at, T, edges)
        p = first_record[view]
        for key in range(keys):
            if len(equal) > 0:
                if equal[group, key] < distinct:
                    nulls += _copied(
                        plan,
                        at,
                        first,
                        first_of[equal[group, key]],
                        key,
                        keys,
                        values,
                        statuses,
                        is_null,
                    )
                    continue
                first_of[distinct] = key
                distinct += 1
            records, count, held = _sections(
                words, begins[p : p + plan[at + 4]], plan, at, T, kinds, starts, places
            )
            if records < 0:
                return -1
            p += plan[at + 4]
            if count >= len(bench):
                bench = np.empty(2 * (count + 1))
            if records > 1 and held > 0:
                strings = np.empty(held, np.int64)
                merge_strings(
                    words,
                    starts[:records],
                    places[:records, : columns + 1],
                    kinds,
                    strings,
                    np.empty(held, np.int64),
                )
            any_event = _windows(
                words,
                reals,
                plan,
                at,
                edges,
                starts[:records],
                places,
                tiles,
                bench,
                states,
                numbers,
            )
            spelling = places[0, columns] if records == 1 else -1, held, strings
            if variable is not None:  # noqa: SIM102 (numba drops the branch only if None is tested alone)
                if plan[at + 7]:
                    read, out_of = (
                        (words, reals, places[:records], tiles[:, :records]),
                        (values, is_null, items, used),
                    )
                    used = variable_features(
                        plan, at, first, read, spelling, (T, known), (key, keys), out_of
                    )
            nulls += _features(
                plan,
                at,
                states,
                numbers,
                T,
                any_event,
                key,
                keys,
                values,
                floats,
                statuses,
                is_null,
            )
            if held > 0:
                _spelt(plan, at, words, spelling, key, keys, values, is_null)
    if texts is not None:
        first = plan[0] + 4
        joined(
            words, plan[first : first + 2 * plan[first - 1]], keys, values, is_null, items, texts
        )
    return nulls


@njit()
def _begins(words, plan, keys, equal, room):  # type: ignore[no-untyped-def]
    """The word at which each record begins; and the number of each view's first record, none where
    a record is of another format.

    room: words for both, at least those of one key.
    """
    distinct = np.empty(len(equal), np.int64) if len(equal) > 0 else room[:0]
    for group in range(len(equal)):
        distinct[group] = equal[group].max() + 1 if keys else 0
    total, first = 0, room[: plan[0]]
    for view in range(plan[0]):
        at = plan[1 + view]
        if plan[at + 13] < view:  # another view has read them
            first[view] = first[plan[at + 13]]
        else:
            first[view], total = (
                total,
                total + plan[at + 4] * (distinct[plan[at + 8]] if len(equal) > 0 else keys),
            )
    begins = (
        room[plan[0] : plan[0] + total]
        if plan[0] + total <= len(room)
        else np.empty(total, np.int64)
    )
    p = plan[1 + plan[0]] + HEAD + plan[2 + plan[0]]
    for r in range(total):
        size = size_of(words[p])
        if size < 0:
            return begins, first[:0]
        begins[r], p = p, p + size
    return begins, first


@njit()
def _sections(words, begins, plan, view, T, kinds, starts, places):  # type: ignore[no-untyped-def]
    """Find a view's sections in the records of a key. Returns the number of sections, -1 where one
    has another format, and the numbers of their tiles and strings. Of the records of cuts, only the
    last one until T is read.
    """
    records, tiles, strings, cut = 0, 0, 0, np.int64(0)
    for r in range(len(begins)):
        begin = section_at(words, begins[r], plan[view + 12])
        if begin < 0:
            begin = plan[1 + plan[0]]  # a section of no tiles
        if plan[view + 9]:
            if words[begins[r] + 1] > T or (records > 0 and words[begins[r] + 1] <= cut):
                continue
            records, tiles, strings, cut = 0, 0, 0, words[begins[r] + 1]
        if located(words, begin, kinds, places[records]) < 0:
            return -1, 0, 0
        starts[records] = begin
        records, tiles, strings = records + 1, tiles + words[begin + 2], strings + words[begin + 3]
    return records, tiles, strings


@njit()
def _copied(plan, view, features, first, key, keys, values, statuses, is_null):  # type: ignore[no-untyped-def]
    """Copy the features of a view, which stand at word `features` of the plan, of an equal key; how
    many are null.
    """
    nulls = 0
    for f in range(features, features + WIDTH * plan[view + 3], WIDTH):
        cell = plan[f + 8] * keys
        values[cell + key], statuses[cell + key], is_null[cell + key] = (
            values[cell + first],
            statuses[cell + first],
            is_null[cell + first],
        )
        nulls += is_null[cell + key]
    return nulls


@njit()
def _kinds(plan, view):  # type: ignore[no-untyped-def]
    """Where the kinds of a view's arrays stand in the plan; view: where its section begins."""
    return view + SECTION + 3 * plan[view + 1] + 3 * plan[view + 2] + plan[view]


@njit(nogil=False)
def answer_one(words, plan, out, variable, texts):  # type: ignore[no-untyped-def]
    """As `answer`, for one key. It keeps the interpreter's lock: releasing and taking it again
    would take longer than the loop.
    """
    return answer(words, plan, np.int64(1), words[:0].reshape(0, 0), out, variable, texts)


@njit()
def _edges(plan, view, T, edges):  # type: ignore[no-untyped-def]
    """Write the begin and end of each window of a view, as of `TileLadder.begin` and
    `TileLadder.end`, into `edges`.
    """
    for w in range(plan[view + 1]):
        at = view + SECTION + 3 * w
        length, hop, offset = plan[at], plan[at + 1], plan[at + 2]
        edges[2 * w] = ALL if length < 0 else (T - offset - length) // hop * hop
        edges[2 * w + 1] = T if offset == 0 else (T - offset) // hop * hop


@njit()
def _windows(words, reals, plan, view, edges, starts, places, tiles, bench, states, numbers):  # type: ignore[no-untyped-def]
    """The states of a view's windows for one key, into `states`: each of the tiles that begin
    between its edges.

    view: where its section of the plan begins. starts: where that of each record begins. places:
    where each of its arrays begins. tiles, to be filled: (windows, records, 2), the first and the
    end of the tiles that count. bench: room for a column of all tiles. Whether there is any event.
    """
    columns, count, steps, records, everything = (
        plan[view],
        plan[view + 1],
        plan[view + 2],
        len(starts),
        plan[view + 6],
    )
    steps_at = view + SECTION + 3 * count
    neutral, any_event = steps_at + 3 * steps, False
    for w in range(count):
        used, spans = 1, tiles[w]
        for r in range(records):
            p, n = starts[r] + HEAD, words[starts[r] + 2]
            spans[r, 0] = first_at(words, p, p + n, edges[2 * w]) - p
            spans[r, 1] = first_at(words, p + spans[r, 0], p + n, edges[2 * w + 1]) - p
            used += spans[r, 1] - spans[r, 0]
        i, state_at = 0, w * columns
        if used == 1:
            for c in range(columns):
                states[state_at + c] = plan[neutral + c]
            continue
        while i < steps:
            op, c, real = (
                plan[steps_at + 3 * i],
                plan[steps_at + 3 * i + 1],
                plan[steps_at + 3 * i + 2],
            )
            if op > GREATEST:
                extra, width = (real, real) if op == PICK else (0, 4 if op == DECAY else 3)
                rows = np.empty((used, columns), np.int64)
                _gathered(words, spans, places, records, plan, neutral, c, width, rows)
                program = plan[steps_at + 3 * i : steps_at + 3 * (i + 1 + extra)].reshape(
                    1 + extra, 3
                )
                merged(program, rows, rows.view(np.float64), 0, used)
                for k in range(c, c + width):
                    states[state_at + k] = rows[0, k]
                i += extra
            elif real:
                states[state_at + c] = plan[neutral + c]
                bench[0], k = numbers[state_at + c], 1
                for r in range(records):
                    for j in range(places[r, c] + spans[r, 0], places[r, c] + spans[r, 1]):
                        bench[k] = reals[j]
                        k += 1
                numbers[state_at + c] = paired(op, bench, used)
            else:
                v = plan[neutral + c]
                for r in range(records):
                    for j in range(places[r, c] + spans[r, 0], places[r, c] + spans[r, 1]):
                        x = words[j]
                        if op == ADD:
                            v += x
                        elif (op == LEAST and x < v) or (op == GREATEST and x > v):
                            v = x
                states[state_at + c] = v
            i += 1
        any_event |= states[state_at + everything] > 0
    return any_event


@njit()
def _gathered(words, spans, places, records, plan, neutral, first, width, rows):  # type: ignore[no-untyped-def]
    """The state of no event, and the states of the tiles that count, as rows of `width` columns,
    from column `first` on.
    """
    for c in range(first, first + width):
        rows[0, c] = plan[neutral + c]
        k = 1
        for r in range(records):
            for i in range(places[r, c] + spans[r, 0], places[r, c] + spans[r, 1]):
                rows[k, c] = words[i]
                k += 1


@njit()
def _spelt(plan, view, words, strings, key, keys, values, is_null):  # type: ignore[no-untyped-def]
    """Replace the ordinals among a view's values by the spans of their strings; strings: as of
    `tiles.spelt`.
    """
    first = _kinds(plan, view) + plan[view]
    for f in range(first, first + WIDTH * plan[view + 3], WIDTH):
        cell = plan[f + 8] * keys + key
        if plan[f + 6] == TEXT and not is_null[cell]:
            values[cell] = spelt(words, strings, values[cell])


@njit()
def _features(  # type: ignore[no-untyped-def]
    plan, view, states, reals, T, any_event, key, keys, values, floats, statuses, is_null
):
    """Finish every feature of a view for one key, as its family does; how many are null. view:
    where its section begins.
    """
    columns, limit, nulls = plan[view], plan[view + 5], 0
    first = _kinds(plan, view) + columns
    for f in range(first, first + WIDTH * plan[view + 3], WIDTH):
        kind, at = plan[f], plan[f + 1] * columns
        real, counted, cell, word = (
            plan[f + 6] == FLOAT,
            plan[f + 7],
            plan[f + 8] * keys + key,
            plan[f + 9],
        )
        if kind < OPEN_COUNT:
            v, x, valid = finished(
                kind, states, reals, T, at, plan[f + 2], plan[f + 3], plan[f + 4], plan[f + 5]
            )
        else:
            v, x, valid = values[cell], floats[cell], not is_null[cell]
        status = PRESENT if states[at + counted] > 0 else (EMPTY if any_event else MISSING)
        if word >= 0 and not valid and states[at + counted] > 0:
            status = word
        if real and valid and not math.isfinite(x):
            status, valid = OVERFLOW, False
        if limit >= 0 and states[at + plan[f + 11]] > 0:
            age = (T - states[at + plan[f + 10]]) / SECOND
            if np.rint(age * SECOND) > limit:
                status, valid = EXPIRED, False
        statuses[cell], is_null[cell] = status, not valid
        if real:
            floats[cell] = x
        else:
            values[cell] = v
        nulls += not valid
    return nulls


@njit()
def variable_features(plan, view, features, records, strings, times, position, out):  # type: ignore[no-untyped-def]
    """Write the values of the features of a view that have entries, for one key; how many items
    there are then.

    view: where its section begins; features: where those of its features do. records: words, reals
    and at, as of `entry_kernels`, and the tiles of each window. strings: as of
    `tiles.spelt`. times: T, and by when a thing must be known. position: the number of the
    key, and how many keys there are. out: values, nulls and items, and how many items there are.
    """
    words, reals, at, tiles = records
    values, is_null, items, used = out
    floats = values.view(np.float64)
    for f in range(features, features + WIDTH * plan[view + 3], WIDTH):
        if plan[f] < OPEN_COUNT:
            continue
        first, cell = used, plan[f + 8] * position[1] + position[0]
        v, x, valid, used = _value(
            words, reals, plan, view, f, at, tiles[plan[f + 1]], times, items, used
        )
        is_null[cell] = not valid
        if plan[f + 6] == FLOAT:
            floats[cell] = x
        else:
            values[cell] = v
        size = (used - first) // 3 if plan[f] == MAP else used - first
        if plan[f + 5] == TEXT:
            for i in range(first, first + size):
                items[i] = spelt(words, strings, items[i])
        if plan[f] == MAP and plan[view + plan[f + 4] + INNER_WORD] == TEXT:
            for i in range(first + size, first + 2 * size):
                if items[i + size]:
                    items[i] = spelt(words, strings, items[i])
    return used


@njit()
def _value(words, reals, plan, view, f, at, tiles, times, items, used):  # type: ignore[no-untyped-def]
    """The value of the feature at word f of the plan: as an integer, as a float, whether it is not
    null, and how many items there are then.

    at, tiles: see `entry_kernels`. view: where the section of its view begins.
    """
    kind, c, a, b = plan[f], plan[f + 2], plan[f + 3], plan[f + 4]
    entries = np.empty((len(tiles), 2), np.int64)
    total = entry_ranges(words, at, tiles, c, entries)
    if kind in (OPEN_COUNT, OPEN_AGE):
        count, age = open_intervals(words, at, c, entries, times[0], times[1] - a)
        return count, age / max(count, 1) / SECOND, kind == OPEN_COUNT or count > 0, used
    if kind == DISTINCT:
        return distinct_count(words, at, c, tiles, entries, total), 0.0, True, used
    if kind == PERCENTILE:
        value, valid = percentile(words, reals, at, c, entries, total, a)
        return 0, value, valid, used
    if kind == MAP:
        count = map_of(
            words, plan, view + b, at, c, tiles, entries, total, a, times[0], items, used
        )
        return (used << LENGTH_BITS) | count, 0.0, True, used + 3 * count
    first, real = used, plan[f + 5] == FLOAT
    if kind == RECENT:
        used = recent(
            words, reals, at, c, entries, a, b & NEWEST > 0, b & DIFFERENT > 0, real, items, used
        )
    else:
        values, counts = np.empty(total, np.int64), np.empty(total, np.int64)
        n = tallied(words, at, c, entries, total, kind == FREQUENT, values, counts)
        floats = values.view(np.float64)[:n]
        if kind == LEAST_VALUES:
            return (
                (first << LENGTH_BITS) | min(n, a),
                0.0,
                True,
                least(values[:n], floats, a, real, items, used),
            )
        used = most_frequent(values[:n], floats, counts[:n], abs(a), real, items, used)
    if a < 0:  # the one value, and no list
        valid = used > first
        return (
            (items[first], items.view(np.float64)[first], True, first)
            if valid
            else (0, 0.0, False, first)
        )
    return (first << LENGTH_BITS) | (used - first), 0.0, True, used


ITEMS: Final = 1
"""The items of a list, or the categories of a map, are strings; without it and MAPPED, the value
itself is one.
"""

MAPPED: Final = 2
"""The values of a map are strings."""

START: Final = 8
"""Bytes before the strings."""

FULL: Final = -1
"""The room is too small for the strings."""

APART: Final = -2
"""The strings cannot be split at zero bytes: one of them holds such a byte."""

_LENGTH: Final = 2**LENGTH_BITS - 1


@njit()
def joined(words, places, keys, values, is_null, items, texts):  # type: ignore[no-untyped-def]
    """Copy the strings of an answer, each with a zero byte after it: feature by feature, key by
    key.

    words: the records. places: int64, of each feature with strings its number, and ITEMS and
    MAPPED. values, is_null: of each feature of each key, the value, and whether it is null. items:
    of lists and maps. texts, to be filled: int64, where the strings end, in bytes from the begin of
    the array, or FULL or APART; then the strings.
    """
    source, target, end = words.view(np.uint8), texts.view(np.uint8), np.int64(START)
    for at in range(0, len(places), 2):
        parts = places[at + 1]
        for cell in range(places[at] * keys, (places[at] + 1) * keys):
            if is_null[cell]:
                continue
            if parts == 0:
                end = _appended(source, values[cell], target, end)
                continue
            first, count = values[cell] >> LENGTH_BITS, values[cell] & _LENGTH
            if parts & ITEMS:
                for i in range(first, first + count):
                    end = _appended(source, items[i], target, end)
            if parts & MAPPED:
                for i in range(first + count, first + 2 * count):
                    if items[i + count]:
                        end = _appended(source, items[i], target, end)
    texts[0] = end


@njit()
def _appended(source, span, target, end):  # type: ignore[no-untyped-def]
    """Copy the bytes of a span and a zero byte. Returns where they end, or the value for `texts`
    instead.
    """
    begin, size = span >> LENGTH_BITS, span & _LENGTH
    if end < 0:
        return end
    if end + size >= len(target):
        return np.int64(FULL)
    for i in range(size):
        letter = source[begin + i]
        if letter == 0:
            return np.int64(APART)
        target[end + i] = letter
    target[end + size] = 0
    return end + size + 1
