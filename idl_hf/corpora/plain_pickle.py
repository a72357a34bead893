"""Pickles of plain values, read without running anything they say.
A pickle is a program that may call any function, and some corpora are published as one. Here it may only build lists,
tuples, dicts, texts, bytes and numbers, so NumPy arrays, defaultdicts and sets (before protocol 4 a function call) are
refused. It is checked as a whole before a value of it is built, and what builds it looks up no names either."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from idl_hf.corpora.errors import CorpusError

MAX_BYTES = 2 << 30  # a pickle of text needs a few times its size in memory
_MAX_NESTED = 100  # tuples in tuples; a quarter of a million, hashed as the key of a dict, end the process
_PUSHES = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST EMPTY_TUPLE EMPTY_DICT".split()
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(path: str | Path, max_bytes: int = MAX_BYTES) -> object:
    """Return the value in a pickle. Raises CorpusError for anything but plain values, and for a file that is damaged,
    larger than `max_bytes` or not there."""
    try:
        if (size := Path(path).stat().st_size) > max_bytes:
            raise pickle.UnpicklingError(f"it has {size:,} bytes, more than {max_bytes:,}")
        content = Path(path).read_bytes()
        _check(content)
        return _PlainUnpickler(io.BufferedReader(io.BytesIO(content))).load()
    except Exception as error:  # damaged pickles raise nearly all there are, from EOFError to MemoryError
        raise CorpusError(
            f"'{path}' cannot be read as a pickle of plain values: {str(error)[:300] or type(error).__name__}. "
            "Expected a whole pickle of lists, tuples, dicts, texts and numbers; any other could run code. Check its "
            "sha256 against the publisher's, or pass the corpus as text files."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    """The second lock: nothing that `_check` lets through asks for either."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to an object outside it")


def _check(content: bytes) -> None:
    """Raise for an opcode that builds no plain value and for what could exhaust memory or the interpreter's stack.
    That is a length or memo number beyond the file (the unpickler would reserve that much memory at once) and tuples
    nested too deep. An error of any other kind is a damaged pickle."""
    # For each value on the unpickler's stack, how deep tuples nest in it. Lists and dicts end that, being no keys
    depths: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    opcodes: Any = pickletools.genops(content)  # which reads the arguments, and raises where one is cut off
    for opcode, argument, position in opcodes:
        name = opcode.name
        if name in _PUSHES:
            depths.append(0)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if argument is None else argument
            if not 0 <= number < len(content):
                raise pickle.UnpicklingError(f"its byte {position} stores a value as number {number:,}")
            memo[number] = depths[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            depths.append(memo[argument])
        elif name == "MARK":
            marks.append(len(depths))
        elif name in ("APPENDS", "SETITEMS", "POP_MARK"):
            del depths[marks.pop() :]
        elif name in ("APPEND", "SETITEM"):
            del depths[-1 if name == "APPEND" else -2 :]
        elif name in ("LIST", "DICT"):
            depths[marks.pop() :] = [0]
        elif name == "TUPLE" or name in _TUPLES:
            start = marks.pop() if name == "TUPLE" else len(depths) - _TUPLES[name]
            depths[start:] = [1 + max(depths[start:], default=0)]
            if depths[-1] > _MAX_NESTED:
                raise pickle.UnpicklingError(f"its byte {position} nests tuples more than {_MAX_NESTED} deep")
        elif name == "POP":
            (marks if marks[-1:] == [len(depths)] else depths).pop()
        elif name == "DUP":
            depths.append(depths[-1])
        elif name == "FRAME" and argument > len(content):
            raise pickle.UnpicklingError(f"its byte {position} begins a part of {argument:,} bytes")
        elif name not in ("FRAME", "PROTO", "STOP"):
            what = opcode.doc.splitlines()[0].rstrip(".")
            raise pickle.UnpicklingError(f"its byte {position} is {name} {argument or ''} ({what})")
