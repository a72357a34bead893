"""The page of `idl-hf stats --html`: tables, plots and an example. One file that fetches nothing."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from idl_hf.cache import write_whole
from idl_hf.explore.stats import Stats, Table
from idl_hf.persona import patterns
from idl_hf.report.page_frame import Figure, colour, frame, new_figure, plot, printable, table
from idl_hf.rows.people import shows_persona
from idl_hf.schema import Dialogue

_BARS = 25


def write_page(file: str, name: str, stats: Stats, tables: Iterable[Table]) -> None:
    """Write the page, which replaces one that is there only once it is whole."""
    with write_whole(file) as partial:
        partial.write_text(page(name, stats, tables), encoding="utf-8")


def page(name: str, stats: Stats, tables: Iterable[Table]) -> str:
    """Return the page of a dataset: its tables, the plots and the first dialogue."""
    example = [] if stats.example is None else [_example(stats.example)]
    return frame(name, [*map(_table, tables), "<h2>Plots</h2>", *plots(stats), *example])


def plots(stats: Stats) -> list[str]:
    """Return each plot that there are numbers for, as markup."""
    people = {split: list(talk.dialogues_per_person.values()) for split, talk in stats.talk.items()}
    turns = {split: talk.turns_per_dialogue for split, talk in stats.talk.items()}
    lengths = {
        f"{config} {split}": rows.prompt_lengths
        for config, splits in stats.rows.items()
        for split, rows in splits.items()
    }
    types = {split: rows.criterion_types for split, rows in stats.rows.get("dpoc", {}).items()}
    drawn = [histogram(people, "dialogues per person"), histogram(turns, "turns per dialogue")]
    drawn += [histogram(lengths, f"prompt, {stats.unit}"), bars(types, "criterion types")]
    return [svg for svg in drawn if svg]


def histogram(values: Mapping[str, Sequence[int]], label: str) -> str:
    """Draw how often each number occurs, in percent of its series: splits of any size compare. "" without numbers."""
    series = {name: np.asarray(numbers) for name, numbers in values.items() if len(numbers)}
    if not series:
        return ""
    low, high = min(map(np.min, series.values())), max(map(np.max, series.values()))
    width = -(-(high - low + 1) // _BARS)  # each bar stands for as many whole numbers
    edges = (np.arange(low, high + width + 1, width) - 0.5).tolist()
    figure = new_figure(6, 3)
    axes = figure.subplots()
    weights = [np.full(len(numbers), 100 / len(numbers)) for numbers in series.values()]
    colours = [colour(i) for i in range(len(series))]
    axes.hist(list(series.values()), bins=edges, weights=weights, label=_names(series), color=colours)
    axes.locator_params(axis="x", integer=True)
    return _svg(figure, label)


def bars(counts: Mapping[str, Mapping[str, int]], label: str) -> str:
    """Draw the counts of each series side by side, in percent of the series. Returns "" without counts."""
    series = {title: numbers for title, numbers in counts.items() if numbers}
    if not series:
        return ""
    names = sorted({name for numbers in series.values() for name in numbers})
    width = 0.8 / len(series)
    figure = new_figure(6, 3)
    axes = figure.subplots()
    for i, (title, numbers) in enumerate(series.items()):
        shares = [100 * numbers.get(name, 0) / sum(numbers.values()) for name in names]
        axes.bar(np.arange(len(names)) + i * width, shares, width, label=_names([title])[0], color=colour(i))
    axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, list(map(printable, names)), parse_math=False)
    return _svg(figure, label)


def _names(series: Iterable[str]) -> list[str]:
    """Return what the legend calls each series; it leaves out what begins with an underscore."""
    return ["\xa0" * name.startswith("_") + printable(name) for name in series]


def _svg(figure: Figure, label: str) -> str:
    axes = figure.axes[0]
    axes.set_xlabel(printable(label), parse_math=False)
    axes.set_ylabel("%")
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)
    return plot(figure, label, label)


def _table(shown: Table) -> str:
    rows = [[escape(cell) for cell in row] for row in shown.rows]
    markup = table(shown.title, [escape(cell) for cell in shown.header], {"": rows})
    return f"<h2>{escape(shown.title)}</h2>\n{markup}"


def _example(dialogue: Dialogue) -> str:
    rows = []
    for turn, shows in zip(dialogue.turns, shows_persona(dialogue.turns, patterns.extract), strict=True):
        rows.append([escape(turn.role), f"<mark>{escape(turn.text)}</mark>" if shows else escape(turn.text)])
    title = f"The first dialogue: {dialogue.dialogue_id} of {dialogue.person_id}"
    return f"<h2>{escape(title)}</h2>\n<p>Marked: shows a persona fact.</p>\n{table(title, [], {'': rows})}"
