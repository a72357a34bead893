"""Times of exports: what is one, in which zone, and what is none."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idl_hf.corpora.exports.times import from_iso, from_unix


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-01T09:30:00", datetime(2024, 5, 1, 9, 30)),
        ("2024-05-01 09:30", datetime(2024, 5, 1, 9, 30)),
        (" 2024-05-01T09:30:00Z ", datetime(2024, 5, 1, 9, 30, tzinfo=UTC)),
        ("2024-05-01T09:30:00.5+00:00", datetime(2024, 5, 1, 9, 30, 0, 500_000, UTC)),
        ("2024-05-01T09:30:00.1234567-0330", datetime(
            2024, 5, 1, 9, 30, 0, 123_456, timezone(-timedelta(hours=3, minutes=30)))),
        ("2024-13-01T09:30:00", None),
        ("2024-05-01T09:30:00+99:00", None),
        ("2024-05-01", None),
        ("٢٠٢٤-05-01T09:30:00", None),
        (20240501, None),
        (None, None),
    ],
)  # fmt: skip
def test_iso(text, time):
    assert from_iso(text) == time


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC) | st.none()))
def test_what_python_writes_is_read(time):
    assert from_iso(time.isoformat()) == time


@pytest.mark.parametrize(
    ("count", "scale", "time"),
    [
        (0, 1, datetime(1970, 1, 1, tzinfo=UTC)),
        ("1715900060.000200", 1, datetime(2024, 5, 16, 22, 54, 20, 200, UTC)),
        (1700000000123, 1000, datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)),
        (-1, 1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (float("nan"), 1, None),
        (float("inf"), 1, None),
        (10**300, 1000, None),
        ("soon", 1, None),
        (True, 1, None),
        (None, 1, None),
        ([1], 1, None),
    ],
)
def test_unix(count, scale, time):
    assert from_unix(count, scale) == time


@given(st.integers() | st.floats() | st.text())
def test_any_value_is_a_time_or_none(value):
    for time in (from_iso(value), from_unix(value), from_unix(value, 1000)):
        assert time is None or time.isoformat()
