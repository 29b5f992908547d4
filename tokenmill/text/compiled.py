"""Compiling kernels: numba, cached on disk, and compiled again when any kernel's source changes.

Numba notices a change in the file of a function, not in the files of the functions that it calls. The digest of
all kernel sources is therefore part of the functions that are called from Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba


def inner(function: Callable[..., Any]) -> Any:
    """A function that only kernels call."""
    return _for_kernels(function)


def lean(function: Callable[..., Any]) -> Any:
    """The same without reference counts: it may make no array. Counting costs 0.2 µs where ten arrays are handed on."""
    return _for_kernels(function, _nrt=False)


def lean_inlined(function: Callable[..., Any]) -> Any:
    """The same, put into its callers."""
    return _for_kernels(function, _nrt=False, inline="always")


def lean_forced(function: Callable[..., Any]) -> Any:
    """`lean`, put into its callers by LLVM: handing a dozen arrays to a function costs 50 ns, more than most steps."""
    return _for_kernels(function, _nrt=False, forceinline=True)


def _for_kernels(function: Callable[..., Any], **options: Any) -> Any:
    """Leaving out what a call from Python takes saves a fifth of the time of compiling."""
    made = numba.njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    if hasattr(made, "py_func"):  # not with NUMBA_DISABLE_JIT
        made.__class__ = _uncallable(type(made))
    return made


def kept(function: Callable[..., Any], **options: Any) -> Any:
    """A kernel that depends on no other file, and may be called from Python as well as from kernels."""
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True, **options)(function)


@cache
def _uncallable(kind: type) -> type:
    """A class of functions that Python cannot call: without this, doing so ends the process."""

    def refuse(self: Any, *arguments: object, **named: object) -> None:
        raise TypeError(f"{self.py_func.__qualname__} is for kernels: call it from one, or its py_func")

    return type(kind.__name__, (kind,), {"__call__": refuse, "__module__": kind.__module__})


def entry(make: Callable[[str], Callable[..., Any]], **options: Any) -> Callable[..., Any]:
    """The kernel that `make(digest of the sources)` returns, to be called from Python.

    `make` must use the digest inside the function that it returns; so it becomes part of the cache's key.
    options: more options of `numba.njit`; `_nrt=False` for kernels of `lean` functions.
    """
    function = make(_sources_digest(str(Path(make.__code__.co_filename).parent)))
    kernel: Callable[..., Any] = kept(function, **options)
    return kernel


@cache
def _sources_digest(folder: str) -> str:
    """Digest of the sources of all kernels here and in dedup, and of those in the folder with their tables."""
    digest = hashlib.sha256(numba.__version__.encode())
    here = Path(__file__).parent
    constants = here.parent / "core" / "segment.py"  # compiled in, as those of this folder
    paths = {constants, *here.glob("*.py"), *(here.parent / "dedup").glob("*_kernel.py")}
    paths |= {path for kind in ("kernel", "tables") for path in Path(folder).glob(f"*_{kind}.py")}
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
