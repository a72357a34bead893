"""The times of exports: ISO 8601 and seconds since 1970. What is no time is None: a message is worth more."""

import re
from datetime import UTC, datetime, timedelta

_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_iso(value: object) -> datetime | None:
    """Return an ISO 8601 time, with its zone if it has one; None for any other value."""
    match = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in ("Z", "z") else f"{zone[:3]}:{zone[-2:]}" if zone else ""
    clock = clock if len(clock) > 5 else f"{clock}:00"
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone}")
    except ValueError:
        return None


def from_unix(seconds: object, scale: int = 1) -> datetime | None:
    """Return the time in UTC of a count since 1970, also one written as a text; None for any other value.
    scale: how many of what is counted are a second, 1000 for milliseconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, str | int | float):
        return None
    try:
        return _EPOCH + timedelta(seconds=float(seconds) / scale)
    except (ValueError, OverflowError):  # no number, not a number, or outside of the years 1 to 9999
        return None
