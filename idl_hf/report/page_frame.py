"""What all pages of HTML have in common: a frame that fetches and runs nothing, tables, and plots as inline SVG."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

# No page may hold these, and some end a text where it is drawn
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # of Okabe and Ito, for the colour-blind
_FIT_ON_A_PHONE = 3  # columns
_HINT = '<p class="sideways" aria-hidden="true">swipe for more columns →</p>\n'
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff; overflow-wrap: break-word; }
h1, h2, h3, h4 { line-height: 1.25; }
h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; background:
  linear-gradient(to left, #fff 2rem, transparent) right / 4rem 100% no-repeat local,
  linear-gradient(to left, rgb(0 0 0 / .22), transparent) right / .7rem 100% no-repeat scroll; }
.sideways { display: none; color: #555; font-size: .875rem; margin: .2rem 0; }
@media (max-width: 40rem) { .sideways { display: block; } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
tbody th { font-weight: normal; }
tbody th[scope=rowgroup] { font-weight: bold; padding-top: 1rem; }
figure { margin: 1rem 0; }
figcaption { color: #555; }
svg { max-width: 100%; height: auto; }
mark { background: #fff3b0; color: inherit; }
"""


def printable(text: str) -> str:
    """Return text with a mark in the place of each character that pages and plots cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def frame(title: str, parts: Iterable[str], style: str = "") -> str:
    """Return a whole page. parts: markup."""
    # The policy has browsers fetch and run nothing, whatever a dialogue holds
    return printable(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{chr(10).join(parts)}
</body>
</html>
""")


def table(label: str, head: Sequence[str], bodies: Mapping[str, Iterable[Sequence[str]]]) -> str:
    """Return a table that on a narrow screen scrolls in a box of its own, which the keyboard reaches too.

    bodies: rows of cells by the heading above them, "" for none. The first cell of a row names it. All but the label
    is markup.
    """
    parts = [f"<thead>{_row(head, 'col')}</thead>"] if head else []
    for heading, rows in bodies.items():
        above = f'<tr><th scope="rowgroup" colspan="{len(head)}">{heading}</th></tr>\n' if heading else ""
        parts.append(f"<tbody>\n{above}{chr(10).join(_row(cells) for cells in rows)}\n</tbody>")
    body = "\n".join(parts)
    name = escape(label)
    hint = (
        '<p class="sideways" aria-hidden="true">swipe for more columns →</p>\n' if len(head) > _FIT_ON_A_PHONE else ""
    )
    return (
        f'{hint}<div class="wide" role="region" aria-label="{name}" tabindex="0">\n<table>\n{body}\n</table>\n</div>'
    )


def _row(cells: Sequence[str], scope: str = "row") -> str:
    first, *others = cells
    rest = "".join(f'<th scope="col">{cell}</th>' if scope == "col" else f"<td>{cell}</td>" for cell in others)
    return f'<tr><th scope="{scope}">{first}</th>{rest}</tr>'


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, without pyplot: no window, and nothing kept afterwards."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(i: int) -> str:
    """Return the colour of the i-th series; after six they begin again."""
    return _COLOURS[i % len(_COLOURS)]


def plot(figure: Figure, label: str, caption: str) -> str:
    """Return a figure as markup. label: for who cannot see it, and unlike that of any other plot of the page."""
    file, label, caption = io.StringIO(), printable(label), printable(caption)
    # Text stays text, and the salt keeps the ids of several plots in one page apart
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    image = text[text.index("<svg") :]  # without the declarations of a file of its own
    image = image.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
