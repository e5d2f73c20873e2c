"""Safe reader of untrusted pickles: uint8 arrays, plain values and containers of these; it loads no other class."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

MOST_TUPLES = 1000  # a published file has about ten; hashing deeply nested tuples would overflow the C stack
MOST_NOTES = 2**20  # largest memo index; a published file needs about 30,000; Python allocates memory up to the index
_INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "LONG1", "BININT", "BININT1",
    "BININT2", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE",
    "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "EMPTY_DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip


def read_bytes_and_text(path: Path) -> Any:
    """Contents of a pickle; arrays that are values of the outermost dictionary are restored.

    An array of another type than uint8 becomes None. The pickle cannot call NumPy, whose array constructor would let a
    crafted file pass arbitrary bytes off as pointers to objects.

    Raises:
        Exception: nearly any exception, if the file is damaged or contains anything else.
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
            raise pickle.UnpicklingError(f"it uses {instruction.name} in a way that no image file needs")


def _unwrapped(content: Any) -> Any:
    """Replace the stand-ins among the values of a dictionary by their arrays; return any other content unchanged."""
    if not isinstance(content, dict):
        return content
    return {key: value.array if isinstance(value, _Array) else value for key, value in content.items()}


class _Reader(pickle.Unpickler):
    """Unpickler that loads `_STAND_INS` in place of NumPy's classes and functions, and refuses every other name."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        raise pickle.UnpicklingError(f"it asks to load {module}.{name}, which no image file needs")


class _Type:
    """Stand-in for numpy.dtype.

    Attributes:
        is_byte: whether the type is uint8.
    """

    def __init__(self, name: Any, *_: Any) -> None:
        self.is_byte = name in ("u1", "|u1")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which do not matter for single bytes."""


class _Array:
    """Stand-in for numpy.ndarray.

    Attributes:
        array: the restored array, uint8; None if the pickled array has another type.
    """

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        self.fill(data, kind, shape, "F" if by_columns else "C")

    def fill(self, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
        """Set `array` from bytes, or from a Latin-1 string as in pickles of Python 2; return the stand-in."""
        if isinstance(kind, _Type) and kind.is_byte:
            content = data.encode("latin1") if isinstance(data, str) else bytes(data)
            self.array = np.frombuffer(content, np.uint8).reshape(shape, order=order)
        return self


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _array_of(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    return _Array().fill(data, kind, shape, order)


# NumPy 2 renamed numpy.core to numpy._core.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _array_of,
    ("numpy._core.numeric", "_frombuffer"): _array_of,
}
