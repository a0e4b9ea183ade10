"""Compiled loops over librdkafka's messages."""

from __future__ import annotations

import ctypes

import numba as nb
import numpy as np

from headwater.kernel.addresses import byte, call, call_with, integer, word
from headwater.kernel.arrays import I64, U8, Bool


class RawMessage(ctypes.Structure):
    """`rd_kafka_message_t`, whose layout is a part of librdkafka's C API."""

    _fields_ = (
        ("err", ctypes.c_int32),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("_private", ctypes.c_void_p),
    )


_ERR, _PARTITION, _PAYLOAD, _LEN, _OFFSET = (
    int(getattr(RawMessage, name).offset)
    for name in ("err", "partition", "payload", "len", "offset")
)


@nb.njit(nogil=True, cache=True)
def measured(messages: I64) -> tuple[Bool, int]:
    """Which messages are errors, bool (n), and the total size of the payloads of the others in
    bytes. messages: int64 (n), addresses.
    """
    failed, size = np.zeros(len(messages), np.bool_), 0
    for n in range(len(messages)):
        failed[n] = integer(messages[n], _ERR) != 0
        if not failed[n]:
            size += word(messages[n], _LEN)
    return failed, size


@nb.njit(nogil=True, cache=True)
def copied(messages: I64, timestamp: int, numbers: I64, data: U8) -> None:
    """Copy n messages without errors.

    timestamp: the address of `rd_kafka_message_timestamp`. numbers: int64 (6, n), written:
    partition, offset, the begin of the payload in `data` and its size (-1 for none), the kind of
    time, milliseconds. data: uint8, written.
    """
    at, kind = 0, np.zeros(1, np.int32)
    for n in range(len(messages)):
        message = messages[n]
        payload, size = word(message, _PAYLOAD), word(message, _LEN)
        numbers[0, n], numbers[1, n] = integer(message, _PARTITION), word(message, _OFFSET)
        numbers[2, n], numbers[3, n] = at, size if payload else -1
        if payload:
            for offset in range(size):
                data[at + offset] = byte(payload, offset)
            at += size
        numbers[5, n] = call_with(timestamp, message, kind.ctypes.data)
        numbers[4, n] = kind[0]


@nb.njit(nogil=True, cache=True)
def destroyed(messages: I64, destroy: int) -> None:
    """Destroy messages; destroy: the address of `rd_kafka_message_destroy`."""
    for n in range(len(messages)):
        call(destroy, messages[n])
