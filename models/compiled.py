"""Compiling with numba, once per machine where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered (without it no dot product is vectorised) but NaN and infinity stay what they are: the evaluator
# asserts that scores are finite, and a compiler told "there is no NaN" would remove the check.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def compiled(function: Function) -> Function:
    """Compile a function on its first call. Compiled functions it calls become part of it.

    Measured: left to LLVM, that choice is one for the process that compiles and another for those that find the machine
    code of the first, and sums differ in their last bits. Learning again after a crash must give the same bits.

    The machine code is kept in ``NUMBA_CACHE_DIR``, beside the source, or in the user's cache, whichever can be
    written; where none can (a read-only image), each process compiles for itself.

    It keeps the interpreter to itself: given away at every short call, that came back only 5 ms later each time,
    while another thread (a snapshot, the map of content) had something to compute.
    """
    return _compiled(function, nogil=False)


def compiled_for_long(function: Function) -> Function:
    """``compiled`` for what takes seconds: other threads, a lease's heartbeat among them, go on meanwhile."""
    return _compiled(function, nogil=True)


def _compiled(function: Function, *, nogil: bool) -> Function:
    try:
        return cast(Function, numba.njit(cache=True, fastmath=FASTMATH, nogil=nogil, forceinline=True)(function))
    except RuntimeError:  # numba found no place to keep it
        return cast(Function, numba.njit(fastmath=FASTMATH, nogil=nogil, forceinline=True)(function))
