"""Asking for memory before it is needed: a row that nobody read lately takes longer to come than to be learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

CACHE_LINE_BYTES = 64


def _prefetch(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_be_written, keep_near, data = number(1), number(3), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), to_be_written, keep_near, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


# Begins to bring the cache line at an address, an int, near: for compiled functions. It changes nothing, and an address
# that does not exist is no error.
prefetch: Callable[[int | np.integer[Any]], None] = cast(Any, intrinsic(_prefetch))
