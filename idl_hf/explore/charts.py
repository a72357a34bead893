"""The page of `idl-hf stats --html`: tables, plots and an example. One file that fetches nothing."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from idl_hf.explore.stats import Stats, Table, shows_persona
from idl_hf.report.page_frame import Figure, colour, frame, new_figure, plot, table, write_whole
from idl_hf.schema import Dialogue

_BARS = 25


def write_page(file: str, name: str, stats: Stats, tables: Iterable[Table]) -> None:
    write_whole(Path(file), page(name, stats, tables))


def page(name: str, stats: Stats, tables: Iterable[Table]) -> str:
    parts = [*map(_table, tables), "<h2>Plots</h2>", *plots(stats)]
    if stats.example is not None:
        parts.append(_example(stats.example))
    return frame(name, parts)


def plots(stats: Stats) -> list[str]:
    talk = stats.talk.items()
    lengths = {f"{c} {split}": rows.prompt_lengths for c, of in stats.rows.items() for split, rows in of.items()}
    types = {split: rows.criterion_types for split, rows in stats.rows.get("dpoc", {}).items()}
    drawn = [
        histogram({split: list(of.dialogues_per_person.values()) for split, of in talk}, "dialogues per person"),
        histogram({split: of.turns_per_dialogue for split, of in talk}, "turns per dialogue"),
        histogram(lengths, f"prompt, {stats.unit}"),
        bars(types, "criterion types"),
    ]
    return [svg for svg in drawn if svg]


def histogram(values: Mapping[str, Sequence[int]], label: str) -> str:
    """How often each number occurs, in percent of its series, so that splits of any size compare. "" without numbers."""
    series = {name: np.asarray(numbers) for name, numbers in values.items() if len(numbers)}
    if not series:
        return ""
    low, high = min(map(np.min, series.values())), max(map(np.max, series.values()))
    width = -(-(high - low + 1) // _BARS)  # each bar stands for as many whole numbers
    edges = (np.arange(low, high + width + 1, width) - 0.5).tolist()
    figure = new_figure(6, 3)
    axes = figure.subplots()
    axes.hist(
        list(series.values()),
        bins=edges,
        weights=[np.full(len(numbers), 100 / len(numbers)) for numbers in series.values()],
        label=list(series),
        color=[colour(i) for i in range(len(series))],
    )
    axes.locator_params(axis="x", integer=True)
    return _svg(figure, label)


def bars(counts: Mapping[str, Mapping[str, int]], label: str) -> str:
    """The counts of each series side by side, in percent of the series. "" without counts."""
    series = {name: found for name, found in counts.items() if found}
    if not series:
        return ""
    names = sorted({name for found in series.values() for name in found})
    width = 0.8 / len(series)
    figure = new_figure(6, 3)
    axes = figure.subplots()
    for i, (title, found) in enumerate(series.items()):
        shares = [100 * found.get(name, 0) / sum(found.values()) for name in names]
        axes.bar(np.arange(len(names)) + i * width, shares, width, label=title, color=colour(i))
    axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names)
    return _svg(figure, label)


def _svg(figure: Figure, label: str) -> str:
    axes = figure.axes[0]
    axes.set_xlabel(label, parse_math=False)
    axes.set_ylabel("%")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return plot(figure, label, label)


def _table(of: Table) -> str:
    rows = [[escape(cell) for cell in row] for row in of.rows]
    made = table(of.title, [escape(cell) for cell in of.header], {"": rows})
    return f"<h2>{escape(of.title)}</h2>\n{made}"


def _example(dialogue: Dialogue) -> str:
    rows = []
    for turn, shows in zip(dialogue.turns, shows_persona(dialogue), strict=True):
        rows.append([escape(turn.role), f"<mark>{escape(turn.text)}</mark>" if shows else escape(turn.text)])
    title = f"The first dialogue: {dialogue.dialogue_id} of {dialogue.person_id}"
    made = table(title, [], {"": rows})
    return f"<h2>{escape(title)}</h2>\n<p>Marked: shows a persona fact.</p>\n{made}"
