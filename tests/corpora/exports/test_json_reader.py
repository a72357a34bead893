"""The reader of JSON in pieces: it reads what `json` reads, wherever the blocks end, and says where it is broken."""

import io
import json
import math
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idl_hf.corpora.errors import CorpusError
from idl_hf.corpora.exports import json_reader
from idl_hf.corpora.exports.json_reader import JsonReader

PATH = Path("chat.json")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Blocks(io.BytesIO):
    """A stream of blocks of a few bytes, as a pipe may give them."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.size = size

    def read(self, size: int = -1) -> bytes:
        return super().read(self.size)


def reader(text: str | bytes, size: int = 1 << 20) -> JsonReader:
    return JsonReader(Blocks(text if isinstance(text, bytes) else text.encode(), size), PATH)


@given(values, st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
@example({"a": "\U0001f600"}, 1, None, True)
@example([12345678901234567890, 1.5e-300], 3, None, False)
def test_a_value_is_what_json_makes_of_it_wherever_a_block_ends(value, size, indent, is_ascii):
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    cursor = reader(text, size)
    assert cursor.value() == json.loads(text)
    cursor.end()


@given(st.lists(values, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
def test_lists_and_objects_are_walked(items, size, indent):
    text = json.dumps({"about": {"a": 1}, "list": items, "end": 0}, indent=indent)
    cursor, seen = reader(text, size), {}
    for key in cursor.members():
        seen[key] = [entry.value for entry in cursor.entries()] if key == "list" else cursor.value()
    cursor.end()
    assert seen == json.loads(text)


def test_an_entry_knows_its_line_and_in_a_file_of_one_line_its_number():
    cursor = reader('[\n {"a":\n 1}, 2,\n\n "x"]')
    assert [entry.place for entry in cursor.entries()] == ["chat.json:2", "chat.json:3", "chat.json:5"]
    assert [entry.place for entry in reader("[1, 2]").entries()] == ["chat.json:1, entry 1", "chat.json:1, entry 2"]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2", "chat.json:1: The file ends within its JSON, so a part of it is missing. Export the chat again."),
        ('["ab\\"c', "chat.json:1: The file ends within its JSON, so a part of it is missing. Export the chat again."),
        ("[1,\n2 3]", "chat.json:2: Expected ']', found '3'. Export the chat again."),
        ("[1,\n]", "chat.json:2: Expected JSON, found ']'. Export the chat again."),
        ("[1,\n,2]", "chat.json:2: Expected JSON, found ','. Export the chat again."),
        ('[{"a" 1}]', "chat.json:1: Expected JSON, found '1'. Export the chat again."),
        ("[nul]", "chat.json:1: Expected JSON, found 'n'. Export the chat again."),
        ("[1] 2", "chat.json:1: Expected the end of the file after its JSON, found more. Export the chat again."),
        ("{}", "chat.json:1: Expected '[', found '{'. Export the chat again."),
        (b'["\n\xff"]', "chat.json:1: Expected UTF-8 text from here on, found the byte 0xff."),
        (b'["\xc3', "chat.json:1: Expected UTF-8 text from here on, found the byte 0xc3."),
    ],
)
def test_what_is_broken_is_said_with_its_line(text, sentence, size):
    cursor = reader(text, size)
    with pytest.raises(CorpusError) as error:
        [*cursor.entries(), cursor.end()]
    assert str(error.value) == sentence


def test_a_key_is_a_text():
    cursor = reader("{1: 2}")
    with pytest.raises(CorpusError, match=r"chat\.json:1: Expected JSON, found '1'"):
        list(cursor.members())


def test_numbers_that_are_none_or_too_long_are_read():
    values = list(reader(f"[NaN, Infinity, 1e999, {'9' * 9000}, -{'9' * 9000}, {'9' * 300}]").entries())
    assert math.isnan(values[0].value)
    assert [value.value for value in values[1:]] == [math.inf, math.inf, math.inf, -math.inf, int("9" * 300)]


def test_of_a_key_that_stands_twice_both_lists_are_read():
    cursor = reader('{"a": [1], "a": [2, 3]}')
    assert [entry.value for _ in cursor.members() for entry in cursor.entries()] == [1, 2, 3]


def test_a_nesting_bomb_is_one_sentence():
    with pytest.raises(CorpusError, match="nested a thousand levels deep"):
        reader("[" * 500_000).value()


class Counted(io.BytesIO):
    asked = 0

    def read(self, size: int = -1) -> bytes:
        self.asked += 1
        return super().read(size)


def test_a_value_of_many_blocks_is_parsed_a_few_times():
    text = json.dumps(["x" * (64 * json_reader._BLOCK)])
    stream = Counted(text.encode())
    assert len(list(JsonReader(stream, PATH).entries())) == 1
    assert stream.asked < 12  # each block doubles what is held


def test_a_long_list_needs_the_memory_of_a_short_one():
    peaks = []
    for count in (5_000, 50_000):
        stream = io.BytesIO(b"[" + b",".join([b'{"text": "%s"}' % (b"x" * 100)] * count) + b"]")
        tracemalloc.start()
        assert sum(1 for _ in JsonReader(stream, PATH).entries()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
