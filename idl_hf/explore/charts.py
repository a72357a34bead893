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
_FAR = 2  # times the 99th percentile: from there on numbers share the last bar
_SIZE = (4.4, 2.9)  # inches: two plots side by side on a screen, one on a phone
_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 0 1.5rem; }
td { min-width: 2.5rem; }
"""


def write_page(file: str, name: str, stats: Stats, tables: Iterable[Table]) -> None:
    """Write the page, which replaces one that is there only once it is whole."""
    with write_whole(file) as partial:
        partial.write_text(page(name, stats, tables), encoding="utf-8")


def page(name: str, stats: Stats, tables: Iterable[Table]) -> str:
    """Return the page of a dataset: its tables, the plots and the first dialogue."""
    example = [] if stats.example is None else [_example(stats.example)]
    drawn = plots(stats)
    shown = ["<h2>Plots</h2>", f'<div class="plots">\n{chr(10).join(drawn)}\n</div>'] if drawn else []
    return frame(name, [*map(_table, tables), *shown, *example], _STYLE)


def plots(stats: Stats) -> list[str]:
    """Return each plot that there are numbers for, as markup. How many dialogues a person has is one for several."""
    people = {split: list(talk.dialogues_per_person.values()) for split, talk in stats.talk.items()}
    turns = {split: talk.turns_per_dialogue for split, talk in stats.talk.items()}
    drawn = [histogram(people, "dialogues per person")] if max(map(len, people.values()), default=0) > 1 else []
    drawn.append(histogram(turns, "turns per dialogue"))
    for config, splits in stats.rows.items():
        lengths = {split: rows.prompt_lengths for split, rows in splits.items()}
        drawn.append(histogram(lengths, f"prompt of {config}, {stats.unit}"))
    types = {split: rows.criterion_types for split, rows in stats.rows.get("dpoc", {}).items()}
    drawn.append(bars(types, "criterion types"))
    return [svg for svg in drawn if svg]


def histogram(values: Mapping[str, Sequence[int]], label: str) -> str:
    """Draw how often each number occurs, in percent of its series: splits of any size compare. "" without numbers.

    Where a few numbers are far beyond all others, the last bar stands for them and says so, so that the others can be
    told apart.
    """
    series = {name: np.asarray(numbers) for name, numbers in values.items() if len(numbers)}
    if not series:
        return ""
    low, high = int(min(map(np.min, series.values()))), int(max(map(np.max, series.values())))
    usual = int(max(np.percentile(numbers, 99) for numbers in series.values()))
    if high > _FAR * usual > 0:
        series = {name: np.minimum(numbers, usual + 1) for name, numbers in series.items()}
        label, high = f"{label} (last bar: {usual + 1:,} to {high:,})", usual + 1
    width = -(-(high - low + 1) // _BARS)  # each bar stands for as many whole numbers
    edges = (np.arange(low, high + width + 1, width) - 0.5).tolist()
    figure = new_figure(*_SIZE)
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
    figure = new_figure(*_SIZE)
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
    axes.set_ylabel("% of each")
    axes.spines[["top", "right"]].set_visible(False)
    for text in figure.legend(loc="outside upper left", ncols=4, frameon=False).get_texts():
        text.set_parse_math(False)
    return plot(figure, label, label)


def _table(shown: Table) -> str:
    bodies: dict[str, list[list[str]]] = {}
    for row in shown.rows:
        heading, own = (row[0], row[1:]) if shown.grouped else ("", row)
        cells = [escape(cell) if not cell[:1].isdigit() else escape(cell).replace(" ", "\xa0") for cell in own]
        bodies.setdefault(escape(heading), []).append(cells)
    markup = table(shown.title, [escape(cell) for cell in shown.header[shown.grouped :]], bodies)
    return f"<h2>{escape(shown.title)}</h2>\n{markup}"


def _example(dialogue: Dialogue) -> str:
    rows = []
    for turn, shows in zip(dialogue.turns, shows_persona(dialogue.turns, patterns.extract), strict=True):
        rows.append([escape(turn.role), f"<mark>{escape(turn.text)}</mark>" if shows else escape(turn.text)])
    title = f"The first dialogue: {dialogue.dialogue_id} of {dialogue.person_id}"
    return f"<h2>{escape(title)}</h2>\n<p>Marked: shows a persona fact.</p>\n{table(title, [], {'': rows})}"
