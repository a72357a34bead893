"""Pickles of plain values are read, and whatever else a pickle may say is refused before it does anything."""

import contextlib
import copyreg
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora import plain_pickle
from idl_hf.corpora.errors import CorpusError

PROTOCOLS = range(6)
VALUE = [{"name": "ruth", "turns": ["hi", None, "é" * 300], "seen": (1, 2.5, True)}, {"n": -1, 7: 10**40, "e": {}}]


@pytest.fixture
def file(tmp_path):
    """Writes a pickle and returns its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "data.pkl"
        path.write_bytes(content)
        return path

    return write


# Plain values


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
keys = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=3))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=20,
)


@given(values, st.sampled_from(PROTOCOLS))
def test_plain_values_come_back_in_any_protocol(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert plain_pickle.load(path) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_and_shared_values_come_back(file, protocol):
    shared = ["the same"] * 2
    value = {"shared": [shared, shared], "many": [f"text {number}" for number in range(3000)], "long": "x" * 70_000}
    loaded = plain_pickle.load(file(pickle.dumps(value, protocol)))
    assert loaded == value
    assert loaded["shared"][0] is loaded["shared"][1]


def test_bytes_come_back(file):
    assert plain_pickle.load(file(pickle.dumps([b"", b"x" * 300], 4))) == [b"", b"x" * 300]


# What is not plain: each of these runs `touch`, as the first test makes sure


class OnNew:
    def __new__(cls, command: str = "", *, also: str = ""):
        os.system(command or also)
        return super().__new__(cls)


class OnState:
    def __setstate__(self, command: str) -> None:
        os.system(command)


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def pushed(kind: type) -> bytes:
    return b"c" + kind.__module__.encode() + b"\n" + kind.__name__.encode() + b"\n"


ATTACKS = {
    **{f"protocol {n}": lambda command, n=n: pickle.dumps(Runs(command), n) for n in PROTOCOLS},
    "nested": lambda command: pickle.dumps([{"a": [1, ({"b": Runs(command)},)]}]),
    "GLOBAL": lambda command: b"cos\nsystem\n(" + text(command) + b"tR.",
    "GLOBAL of a builtin": lambda command: b"cbuiltins\nexec\n(" + text(f"import os; os.system({command!r})") + b"tR.",
    "STACK_GLOBAL": lambda command: b"\x80\x04" + text("os") + text("system") + b"\x93" + text(command) + b"\x85R.",
    "INST": lambda command: b"(" + text(command) + b"ios\nsystem\n.",
    "OBJ": lambda command: b"(cos\nsystem\n" + text(command) + b"o.",
    "NEWOBJ": lambda command: b"\x80\x02" + pushed(OnNew) + text(command) + b"\x85\x81.",
    "NEWOBJ_EX": lambda command: b"\x80\x04" + pushed(OnNew) + b")}" + text("also") + text(command) + b"s\x92.",
    "BUILD": lambda command: b"\x80\x02" + pushed(OnState) + b")\x81" + text(command) + b"b.",
    "EXT1": lambda command: b"\x80\x02\x82\xf0" + text(command) + b"\x85R.",
    "EXT2": lambda command: b"\x80\x02\x83\xf0\x00" + text(command) + b"\x85R.",
    "EXT4": lambda command: b"\x80\x02\x84\xf0\x00\x00\x00" + text(command) + b"\x85R.",
    "behind a value": lambda command: text("harmless") + b"0cos\nsystem\n(" + text(command) + b"tR.",
}


@pytest.fixture
def extension():
    """The code 0xf0 stands for os.system, and was used before: the unpickler finds it in a cache."""
    copyreg.add_extension(os.system.__module__, "system", 0xF0)
    pickle.loads(b"\x80\x02\x82\xf0.")
    yield
    copyreg.remove_extension(os.system.__module__, "system", 0xF0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_works_on_pickle_and_not_here(attack, file, tmp_path, extension):
    touched = tmp_path / "touched"
    content = ATTACKS[attack](f"touch {touched}")
    pickle.loads(content)
    assert touched.exists()
    touched.unlink()
    path = file(content)
    with pytest.raises(
        CorpusError, match=rf"'{path}' cannot be read as a pickle of plain values: its byte \d+ is [A-Z]"
    ):
        plain_pickle.load(path)
    assert not touched.exists()


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if not attack.startswith("EXT")])
def test_the_unpickler_alone_looks_up_no_name(attack, tmp_path):
    path = tmp_path / "attack.pkl"
    path.write_bytes(ATTACKS[attack](f"touch {tmp_path / 'touched'}"))
    with open(path, "rb") as file, pytest.raises(pickle.UnpicklingError, match="it asks for"):
        plain_pickle._PlainUnpickler(file).load()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"Pelsewhere\n.", b"\x80\x02" + text("elsewhere") + b"Q."])
def test_objects_elsewhere_are_refused(file, content):
    path = file(content)
    with pytest.raises(CorpusError, match="PERSID"):
        plain_pickle.load(path)
    with open(path, "rb") as opened, pytest.raises(pickle.UnpicklingError, match="refers to an object outside it"):
        plain_pickle._PlainUnpickler(opened).load()


@pytest.mark.parametrize(
    "value",
    [np.zeros(2), np.float64(1.0), defaultdict(list), OrderedDict(a=1), {1}, frozenset(), Path("a"), bytearray()],
)
def test_other_types_are_refused_by_name_or_opcode(file, value):
    with pytest.raises(
        CorpusError, match=r"its byte \d+ is (GLOBAL|STACK_GLOBAL|EMPTY_SET|FROZENSET).*pass the corpus as"
    ):
        plain_pickle.load(file(pickle.dumps([value], 4)))


# Damage and bombs


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_wherever_it_is_cut_off_it_is_refused(file, protocol):
    whole = pickle.dumps(VALUE, protocol)
    for length in range(len(whole)):
        path = file(whole[:length])
        with pytest.raises(CorpusError, match=rf"'{path}' cannot be read"):
            plain_pickle.load(path)


@given(
    st.sampled_from(PROTOCOLS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_damaged_it_gives_a_value_or_is_refused(tmp_path_factory, protocol, changes):
    content = pickle.dumps(VALUE, protocol)
    for place, length, piece in changes:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    with contextlib.suppress(CorpusError):
        plain_pickle.load(path)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(content)
    with contextlib.suppress(CorpusError):
        plain_pickle.load(path)


HUGE = struct.pack("<Q", 1 << 40)
BOMBS = {
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "memo of protocol 0": b"Np4000000000\n.",
    "memo below 0": b"Np-1\n.",
    "memo never filled": b"\x80\x02j\xff\xff\xff\xff.",
    "bytes": b"\x80\x04B\xff\xff\xff\x7fabc.",
    "long bytes": b"\x80\x04\x8e" + HUGE + b"abc.",
    "text": b"\x80\x04X\xff\xff\xff\x7fabc.",
    "long text": b"\x80\x04\x8d" + HUGE + b"abc.",
    "text of Python 2": b"T\xff\xff\xff\x7fabc.",
    "bytearray": b"\x80\x05\x96" + HUGE + b"abc.",
    "frame": b"\x80\x04\x95" + HUGE + b"N.",
    "number": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "number of negative length": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
    "digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "tuples in tuples": b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.",
    "tuples in tuples by memo": b"\x80\x02})q\x01" + b"0h\x01\x85q\x01" * 200_000 + b"Ns.",
    "marks": b"(" * 500_000,
    "protocol": b"\x80\xffN.",
    "a list as key": b"}]Ns.",
    "nothing to append to": b"Na.",
    "empty": b"",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_little_memory(file, bomb):
    path = file(BOMBS[bomb])
    tracemalloc.start()
    try:
        with pytest.raises(CorpusError, match="cannot be read as a pickle of plain values"):
            plain_pickle.load(path)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_lists_may_be_nested_deep(file):
    value = plain_pickle.load(file(b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert len(value) == 1


def test_a_file_over_the_limit_is_not_read(file):
    path = file(pickle.dumps("x" * 2000))
    assert plain_pickle.load(path, max_bytes=3000) == "x" * 2000
    with pytest.raises(CorpusError, match=r"it has 2,0\d\d bytes, more than 2,000"):
        plain_pickle.load(path, max_bytes=2000)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"nothing\.pkl' cannot be read .*No such file"):
        plain_pickle.load(tmp_path / "nothing.pkl")
