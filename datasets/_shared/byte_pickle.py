"""Reading pickles from strangers: arrays of bytes, integers and text in lists and dictionaries, and nothing else."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

MOST_TUPLES = 1000  # a published file has about ten; the hash of deeply nested ones would exhaust the C stack
MOST_NOTES = 2**20  # a published file has about 30,000; Python reserves memory for the largest number
_INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "LONG1", "BININT", "BININT1",
    "BININT2", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE",
    "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "EMPTY_DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip


def read_bytes_and_text(path: Path) -> Any:
    """The content of a pickle, with NumPy arrays of uint8; an array of another type becomes None.

    No class of NumPy takes part: with one, a crafted file could have bytes taken for pointers to objects.

    Raises:
        Exception: of nearly any kind, if the file is damaged or asks for anything else.
    """
    data = path.read_bytes()
    _check_instructions(data)
    return _unwrapped(_Reader(data).load())


def _check_instructions(data: bytes) -> None:
    tuples = 0
    for instruction, argument, _ in pickletools.genops(data):
        tuples += instruction.name.startswith("TUPLE")
        noted = int(argument or 0) if instruction.name.endswith("PUT") else 0
        if instruction.name not in _INSTRUCTIONS or tuples > MOST_TUPLES or noted > MOST_NOTES:
            raise pickle.UnpicklingError(f"it uses {instruction.name} in a way that no file of images needs")


def _unwrapped(content: Any) -> Any:
    """The content with arrays in place of their stand-ins, as far as these are values of a dictionary."""
    if not isinstance(content, dict):
        return content
    return {key: value.array if isinstance(value, _Array) else value for key, value in content.items()}


class _Reader(pickle.Unpickler):
    """Replaces what a pickled array refers to; the names of the modules depend on NumPy's version."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        raise pickle.UnpicklingError(f"it asks to load {module}.{name}, which does not belong in a file of images")


class _Type:
    """Takes the place of numpy.dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.is_byte = name in ("u1", "|u1")

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which a byte has none of."""


class _Array:
    """Takes the place of numpy.ndarray.

    Attributes:
        array: uint8; None for an array of another type.
    """

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        self.fill(data, kind, shape, "F" if by_columns else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        """Take the pixels from bytes, or from text as Python 2 wrote them."""
        if isinstance(kind, _Type) and kind.is_byte:
            content = data.encode("latin1") if isinstance(data, str) else bytes(data)
            self.array = np.frombuffer(content, np.uint8).reshape(shape, order=order)
        return self


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _array_of(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    return _Array().fill(data, kind, shape, order)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _array_of,
    ("numpy._core.numeric", "_frombuffer"): _array_of,
}
