"""report.json back into what it was made from."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

from idl_hf.report.results import Column, Conversation, Highlighted, Line, OfSeed, Report, Span, Table, Utterance

_T = TypeVar("_T")


def read_report(text: str) -> Report:
    """Return the report that `as_json` wrote. Raises ValueError for a text that is none."""
    try:
        content = json.loads(text)
        return _filled(
            Report,
            content,
            tables=[_table(table) for table in content["tables"]],
            highlighted=[
                Highlighted(entry["title"], [_filled(Span, span) for span in entry["spans"]])
                for entry in content["highlighted"]
            ],
            conversations=[
                _filled(Conversation, entry, turns=[_filled(Utterance, turn) for turn in entry["turns"]])
                for entry in content["conversations"]
            ],
        )
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(
            f"Expected a report.json of this version of idl_hf, found something else: {error!r}."
        ) from error


def _table(table: Mapping) -> Table:
    columns = [_filled(Column, column) for column in table["columns"]]
    lines = [
        _filled(
            Line,
            line,
            **_measured(line),
            by_seed={int(seed): OfSeed(**_measured(of_seed)) for seed, of_seed in line["by_seed"].items()},
        )
        for line in table["lines"]
    ]
    return _filled(Table, table, columns=columns, lines=lines, shares=tuple(table["shares"]))


def _measured(line: Mapping) -> dict[str, dict]:
    """Return what a line, or one seed of it, was measured to be."""
    values = {key: {person: _number(value) for person, value in of.items()} for key, of in line["values"].items()}
    return {"values": values, "whole": {key: _number(value) for key, value in line["whole"].items()}}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _filled(kind: Callable[..., _T], given: Mapping, /, **made: Sequence | Mapping) -> _T:
    """Return a dataclass with its fields from JSON, which may hold more, but for those that are made from it."""
    return kind(**{**{field.name: given[field.name] for field in fields(kind)}, **made})  # type: ignore[arg-type]
