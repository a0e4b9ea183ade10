"""Memory and functions by address in compiled code: for structs of C libraries, and where passing
an array costs too much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numba.core import cgutils, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from ctypes import c_void_p

    def byte(address: int, offset: int) -> int:
        """The byte that lies so many bytes behind an address."""
        ...

    def short(address: int, offset: int) -> int:
        """The unsigned integer of 16 bits there."""
        ...

    def integer(address: int, offset: int) -> int:
        """The signed integer of 32 bits there."""
        ...

    def word(address: int, offset: int) -> int:
        """The signed integer of 64 bits there."""
        ...

    def acquired(address: int, offset: int) -> int:
        """As `word`, at a multiple of 8 that another process may write; later loads come after it
        (C11's memory_order_acquire).
        """
        ...

    def prefetch(address: int) -> None:
        """Ask the processor to read the memory there into its cache, without waiting for it."""
        ...

    def pointer(address: int) -> c_void_p:
        """An address as a pointer, which `carray` takes."""
        ...

    def call(function: int, argument: int) -> None:
        """Call a C function of one pointer."""
        ...

    def call_with(function: int, first: int, second: int) -> int:
        """Call a C function of two pointers, which gives an integer of 64 bits."""
        ...

else:
    from numba.core.cgutils import ir

    def _loaded(bits: int, *, signed: bool, acquire: bool = False) -> Any:  # noqa: ANN401 (an intrinsic)
        def load(typingctx: Any, address: types.Type, offset: types.Type) -> tuple[Any, Any]:  # noqa: ARG001, ANN401 (numba calls it so)
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001, ANN401
                pointer = builder.inttoptr(builder.add(*arguments), ir.IntType(bits).as_pointer())
                value = (
                    builder.load_atomic(pointer, "acquire", bits // 8)
                    if acquire
                    else builder.load(pointer, align=1)
                )
                widened = builder.sext if signed else builder.zext
                return value if bits == 64 else widened(value, arguments[0].type)

            return types.int64(types.int64, types.int64), generate

        return intrinsic(load)

    byte, short, integer, word = (
        _loaded(8, signed=False),
        _loaded(16, signed=False),
        _loaded(32, signed=True),
        _loaded(64, signed=True),
    )
    acquired = _loaded(64, signed=True, acquire=True)

    @intrinsic
    def prefetch(typingctx: Any, address: types.Type) -> tuple[Any, Any]:  # noqa: ARG001, ANN401, D103
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001, ANN401
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
            builder.call(
                function,
                [
                    builder.inttoptr(arguments[0], cgutils.voidptr_t),
                    number(0),
                    number(3),
                    number(1),
                ],
            )
            return context.get_dummy_value()

        return types.void(types.int64), generate

    @intrinsic
    def pointer(typingctx: Any, address: types.Type) -> tuple[Any, Any]:  # noqa: ARG001, ANN401, D103
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001, ANN401
            return builder.inttoptr(arguments[0], cgutils.voidptr_t)

        return types.voidptr(address), generate

    @intrinsic
    def call(typingctx: Any, function: types.Type, argument: types.Type) -> tuple[Any, Any]:  # noqa: ARG001, ANN401, D103
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001, ANN401
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
            builder.call(
                builder.inttoptr(arguments[0], kind.as_pointer()),
                [builder.inttoptr(arguments[1], cgutils.voidptr_t)],
            )
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    @intrinsic
    def call_with(  # noqa: D103
        typingctx: Any,  # noqa: ANN401, ARG001
        function: types.Type,  # noqa: ARG001
        first: types.Type,  # noqa: ARG001
        second: types.Type,  # noqa: ARG001
    ) -> tuple[Any, Any]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001, ANN401
            kind = ir.FunctionType(ir.IntType(64), [cgutils.voidptr_t, cgutils.voidptr_t])
            pointers = [builder.inttoptr(argument, cgutils.voidptr_t) for argument in arguments[1:]]
            return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), pointers)

        return types.int64(types.int64, types.int64, types.int64), generate


@nb.njit(nogil=True, inline="always")
def borrowed(words):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The same int64 words without a reference to their memory, which the caller has to keep: numba
    counts references in every call.
    """
    return carray(pointer(words.ctypes.data), len(words), np.int64)
