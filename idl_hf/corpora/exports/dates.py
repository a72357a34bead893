"""Times as people's phones write them, and in which order day, month and year stand, told from all of a file."""

import functools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from idl_hf.corpora.errors import CorpusError

ORDERS = ("dmy", "mdy", "ymd")
SPACE = "[ \t\u00a0\u202f\u2009]"
_MARKS = "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]*"  # of direction, in the dates of Arabic and Persian
_AM = r"a\.? ?m\.?|上午|凌晨|清晨|早上|半夜|오전|午前|ص|π\.?μ\.?|öö|pg|p\.d\."
_PM = r"p\.? ?m\.?|下午|晚上|中午|오후|午後|م|μ\.?μ\.?|ös|ptg|m\.d\."
_NOON = "中午"  # of eleven it is before, of all other hours after
_HALF = rf"(?:{_AM}|{_PM})".replace(" ", SPACE)
# 13/01/24, 9:05 PM · 01.02.2024 21:05:33 · 2024-02-01, 21.05 · 1/2/24 a las 9:05 p. m. · 2024. 1. 2. 오후 9:05 ·
# 13.1.2024 klo 21.05 · 13.01.24 г., 21:05 · 2024-01-13, 21 h 05
TIME = (
    rf"(?P<first>\d{{1,4}}){_MARKS}(?P<sign>[./-]){SPACE}?(?P<second>\d{{1,2}}){_MARKS}(?P=sign){SPACE}?"
    rf"(?P<third>\d{{1,4}})\.?(?:{SPACE}г\.?)?{_MARKS}(?:[,،]{_MARKS})?{SPACE}+"
    rf"(?:(?:à|at|um|klo?\.?|a{SPACE}las?|às|alle|om){SPACE}+)?(?P<before>{_HALF})?{SPACE}?"
    rf"(?P<hour>\d{{1,2}})(?:[:.]|{SPACE}h{SPACE})(?P<minute>\d{{2}})(?:[:.](?P<second_of>\d{{2}})(?:[.,]\d+)?)?"
    rf"(?:{SPACE}?ч\.)?"
    rf"(?:{SPACE}?(?P<after>{_HALF})(?!\w))?"
)
_WRITTEN = re.compile(TIME, re.IGNORECASE)
_IS_PM = re.compile(_PM.replace(" ", SPACE), re.IGNORECASE)
_DAY_ALONE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
_UNITS = {10: 1, 13: 1_000, 16: 1_000_000}  # of a second, by the digits of the time since 1970
_SECONDS = re.compile(r"\d{10}\.\d{1,9}", re.ASCII)
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS)
_BY_NAME = re.compile(  # Jan 13, 2024 9:05:33 PM · 13 January 2024 21:05
    rf"(?:(?P<month>{_MONTH}) (?P<day>\d{{1,2}})|(?P<day_before>\d{{1,2}}) (?P<month_after>{_MONTH})),? "
    rf"(?P<year>\d{{4}}),?{SPACE}(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?::(?P<second>\d\d))?"
    rf"(?:{SPACE}(?P<half>[ap])m)?",
    re.IGNORECASE | re.ASCII,
)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_MANY = timedelta(days=1)


def from_match(match: re.Match[str], order: str) -> datetime | None:
    """Return the time that TIME matched, its date read in an order; None where it is none."""
    day = _day(match["first"], match["second"], match["third"], order)
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second_of"] or 0)
    if half := match["before"] or match["after"]:
        if hour > 12:
            return None
        is_pm = _IS_PM.fullmatch(half) and (half, hour) != (_NOON, 11)
        hour = hour % 12 + (12 if is_pm else 0)  # in Japan half past midnight is 0:30
    if day is None or hour > 23 or minute > 59 or second > 59:
        return None
    return day.replace(hour=hour, minute=minute, second=second)


@functools.lru_cache(maxsize=1024)
def _day(first: str, second: str, third: str, order: str) -> datetime | None:
    numbers = dict(zip(order, (first, second, third), strict=True))
    if len(numbers["y"]) not in (2, 4) or len(numbers["d"]) > 2 or len(numbers["m"]) > 2:
        return None
    year = int(numbers["y"]) + (2000 if len(numbers["y"]) == 2 else 0)
    try:
        return datetime(year, int(numbers["m"]), int(numbers["d"]))
    except ValueError:
        return None


def parse_time(text: str, order: str) -> datetime | None:
    """Return a time from a cell: ISO 8601, seconds or parts of them since 1970, or written as phones do."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) in _UNITS:
        return _FIRST + timedelta(seconds=int(text) / _UNITS[len(text)])
    if _SECONDS.fullmatch(text):
        return _FIRST + timedelta(seconds=float(text))
    if match := written(text):
        return from_match(match, order)
    return _iso(text) or _year_first(text) or _by_name(text)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text.removesuffix(" UTC")))
    except ValueError:
        return None


def _year_first(text: str) -> datetime | None:
    match = _WRITTEN.fullmatch(text)  # with AM or PM, which ISO 8601 has not
    return from_match(match, "ymd") if match else None


def _by_name(text: str) -> datetime | None:
    match = _BY_NAME.fullmatch(text)
    if match is None or (match["half"] and int(match["hour"]) > 12):
        return None
    name = (match["month"] or match["month_after"]).lower()
    month = 1 + next(i for i, known in enumerate(_MONTHS) if known.startswith(name))
    hour = int(match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    try:
        day = int(match["day"] or match["day_before"])
        return datetime(int(match["year"]), month, day, hour, int(match["minute"]), int(match["second"] or 0))
    except ValueError:
        return None


def written(text: str) -> re.Match[str] | None:
    """Return the match of a time as phones write it, of which the order is to be told; None for any other."""
    text = f"{text.strip()} 00:00" if _DAY_ALONE.fullmatch(text.strip()) else text.strip()
    match = _WRITTEN.fullmatch(text)
    return None if match is None or (len(match["first"]) == 4 and match["sign"] == "-") else match


def order_of(matches: Iterable[re.Match[str]], asked: str, path: Path, option: str = "--date_order") -> str:
    """Return in which order the dates of a file stand: the one asked for, else the only one that they can have.

    An order in which more of the dates are none, or in which time runs backwards where it does not in another, is not
    it. Raises CorpusError, which says what to pass, where several remain; ValueError for an unknown order.
    """
    if asked:
        if asked not in ORDERS:
            raise ValueError(f"{option} '{asked}' is unknown. Expected {', '.join(ORDERS)}.")
        return asked
    counts = {order: _Count() for order in ORDERS}
    example, signs = "", set()
    last: tuple[str, ...] = ()
    for match in matches:
        date = match.group("first", "second", "third")
        if date == last:
            continue
        last = date
        example = example or match[0].strip("[]- –\u200e")
        signs.add(match["sign"])
        for order, count in counts.items():
            is_year = order != "ymd" or len(match["first"]) == 4  # nobody begins with two digits of it
            count.add(_day(*date, order) if is_year else None)
    fewest = min(count.wrong for count in counts.values())
    left = {order: count for order, count in counts.items() if count.wrong == fewest}
    steady = {order: count for order, count in left.items() if count.is_steady}
    left = steady or left
    if signs == {"."} and "dmy" in left:
        return "dmy"  # nobody writes month.day.year
    if len(left) == 1 or not example:
        return next(iter(left))
    raise CorpusError(
        f"The dates of '{path}', such as {example}, can be {' or '.join(_in_words(order) for order in left)}. "
        f"Pass {option} {' or '.join(left)}."
    )


class _Count:
    """How many dates are none in an order, and whether all the others run in one direction; a day may be a zone's."""

    def __init__(self) -> None:
        self.wrong = self._ahead = self._back = 0
        self._last: datetime | None = None

    def add(self, time: datetime | None) -> None:
        if time is None:
            self.wrong += 1
            return
        if self._last is not None:
            self._ahead += time - self._last > _MANY
            self._back += self._last - time > _MANY
        self._last = time

    @property
    def is_steady(self) -> bool:
        return not (self._ahead and self._back)


def _in_words(order: str) -> str:
    return "/".join({"d": "day", "m": "month", "y": "year"}[sign] for sign in order)
