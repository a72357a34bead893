"""Checks for wrong shapes that `datasets` would turn into strings without a word; copied by utils/fix_copies.py."""

from collections.abc import Iterable, Sized


def check_each(kind: type, values: Iterable, expected: str) -> None:
    """Raise ValueError for the first value of another kind, whose number replaces `{}`. A string is no `Sized`."""
    for number, value in enumerate(values):
        if not isinstance(value, kind) or (kind is Sized and isinstance(value, str)):
            raise ValueError(f"{expected.format(number)}, but found {type(value).__name__}.")


def check_columns(metric: str, entry: str, predictions: Sized, **others: Sized) -> None:
    """Raise ValueError for a column that is no list, or that is not as long as the predictions."""
    for name, column in {"predictions": predictions, **others}.items():
        check_each(Sized, [column], f"{metric} expected `{name}` to be a list with one {entry}")
        if len(column) != len(predictions):
            one, lengths = name.replace("ies", "ys")[:-1], f"{len(predictions)} predictions and {len(column)} {name}"
            raise ValueError(f"{metric} expected one {one} for each prediction, but found {lengths}.")
