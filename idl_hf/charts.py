"""The page of `idl-hf stats --html`: tables, plots and an example. One file that fetches nothing; needs matplotlib."""

import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from idl_hf.schema import Dialogue
from idl_hf.stats import Stats, Table, shows_persona

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        "The plots of --html are drawn by matplotlib, which is not installed. Install it with `pip install matplotlib`."
    ) from error

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # of Okabe and Ito, for the colour-blind
_BARS = 25
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
svg { max-width: 100%; height: auto; }
mark { background: #fff3b0; }
"""


def write_page(file: str, name: str, stats: Stats, tables: Iterable[Table]) -> None:
    """Written under another name and moved into place, so that a page that is there is whole."""
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.write_text(page(name, stats, tables), encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def page(name: str, stats: Stats, tables: Iterable[Table]) -> str:
    parts = [*map(_table, tables), "<h2>Plots</h2>", *plots(stats)]
    if stats.example is not None:
        parts.append(_example(stats.example))
    # The policy has browsers fetch and run nothing, whatever a dialogue holds
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(name)}</h1>
{chr(10).join(parts)}
</body>
</html>
"""


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
    figure = Figure(figsize=(6, 3), layout="constrained")  # not pyplot: no window, and nothing kept afterwards
    axes = figure.subplots()
    axes.hist(
        list(series.values()),
        bins=edges,
        weights=[np.full(len(numbers), 100 / len(numbers)) for numbers in series.values()],
        label=list(series),
        color=[_colour(i) for i in range(len(series))],
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
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for i, (title, found) in enumerate(series.items()):
        shares = [100 * found.get(name, 0) / sum(found.values()) for name in names]
        axes.bar(np.arange(len(names)) + i * width, shares, width, label=title, color=_colour(i))
    axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names)
    return _svg(figure, label)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _svg(figure: Figure, label: str) -> str:
    axes = figure.axes[0]
    axes.set_xlabel(label, parse_math=False)
    axes.set_ylabel("%")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    file = io.StringIO()
    # Text stays text, and the salt keeps the ids of several plots in one page apart
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    figcaption = f"<figcaption>{escape(label)}</figcaption>"
    return (
        f"<figure>{text[text.index('<svg') :]}{figcaption}</figure>"  # without the declarations of a file of its own
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table.rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h2>{escape(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _example(dialogue: Dialogue) -> str:
    lines = []
    for turn, shows in zip(dialogue.turns, shows_persona(dialogue), strict=True):
        text = f"<mark>{escape(turn.text)}</mark>" if shows else escape(turn.text)
        lines.append(f"<tr><th>{escape(turn.role)}</th><td>{text}</td></tr>")
    title = f"{dialogue.dialogue_id} of {dialogue.person_id}"
    body = "\n".join(lines)
    return f"<h2>The first dialogue: {escape(title)}</h2>\n<p>Marked: shows a persona fact.</p>\n<table>\n{body}\n</table>"
