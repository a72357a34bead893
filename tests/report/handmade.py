"""A report of hand-made measurements: a table of eight lines and nine columns, curves, a text, replies, a talk."""

import numpy as np

from idl_hf.report.layout import measure
from idl_hf.report.markdown import markdown
from idl_hf.report.results import Column, Conversation, Highlighted, Line, Report, Span, Table, Utterance

HOSTILE = "<script>alert(1)</script><img src=https://example.org/x.png onerror='alert(2)'>"
PEOPLE = [f"person {i}" for i in range(30)]
COLUMNS = [
    Column("bleu_1", "BLEU-1", note="Of words, without smoothing."),
    Column("bleu_2", "BLEU-2"),
    Column("rouge_l", "ROUGE-L"),
    Column("distinct_1", "Dist-1"),
    Column("corpus_distinct_1", "corpus Dist-1", note="Over all replies."),
    Column("p_f1", "P-F1"),
    Column("p_co", "P-Co"),
    Column("nll", "NLL", 1, True, "Nats per token."),
    Column("gain", "persona gain", 1),
    Column("coh", "Coh."),  # measured of no line
]
_LINES = {
    "GPT-2": "baseline", "System": "baseline", "ICL": "baseline", "FT": "baseline", "IDL": "ours",
    "IDL w/o criterion": "ablation", f"IDL w/o SPI, whose name is long {HOSTILE}": "ablation", "gold": "bound",
}  # fmt: skip


def values(mean: float, seed: int) -> dict[str, float]:
    """Return a value of each person; people differ from each other more than a person's values do."""
    of_person = np.random.default_rng(0).normal(0, 0.05, len(PEOPLE))
    drawn = mean + of_person + np.random.default_rng(seed + 1).normal(0, 0.02, len(PEOPLE))
    return dict(zip(PEOPLE, drawn.tolist(), strict=True))


def line(name: str, role: str, mean: float, seed: int, **about) -> Line:
    """Return a line with values in all columns but the last."""
    keys = [column.key for column in COLUMNS if column.key not in ("corpus_distinct_1", "coh")]
    by_person = {key: values(3.6 - mean if key == "nll" else mean, seed + i) for i, key in enumerate(keys)}
    rows = dict.fromkeys([*keys, "corpus_distinct_1"], 120)
    return Line(name, role, by_person, {"corpus_distinct_1": mean}, rows, **about)


def main_table() -> Table:
    """Return a table of all roles, with a value, a reply and a figure of the paper that stand out."""
    lines = [line(name, role, 0.1 + 0.05 * i, 10 * i) for i, (name, role) in enumerate(_LINES.items())]
    lines[0].values.pop("p_co")
    lines[2].rows["bleu_1"] = 119
    lines[4].paper["bleu_1"] = 52.4
    return Table("Table 1: ConvAI2", COLUMNS, lines)


def corpora_table() -> Table:
    """Return two lines on each of two corpora."""
    roles = {"ICL": "baseline", "IDL": "ours"}
    lines = [
        line(name, role, 0.2 + 0.2 * i + 0.3 * (corpus == "LIGHT"), i, group=corpus)
        for corpus in ("Movie", "LIGHT")
        for i, (name, role) in enumerate(roles.items())
    ]
    return Table("Table 2: two corpora", COLUMNS[:2], lines)


def curve_table() -> Table:
    """Return two curves of three points, out of order."""
    lines = [
        line(f"{curve}, {x} references", role, top * (1 - 0.5 ** (x + 1)), 10 * x + i, x=float(x), group=curve)
        for i, (curve, role, top) in enumerate((("IDL", "ours", 0.6), ("ICL", "baseline", 0.4)))
        for x in (0, 5, 1)
    ]
    return Table("Figure 4: more references", COLUMNS[5:7], lines, "reference dialogues")


def report() -> Report:
    """Return a report of all that a report may show."""
    turns = [
        Utterance("Ann", "hi ! do you *sing* ?"),
        Utterance(f"an agent of a long name {HOSTILE}", f"i do .\nevery {'day ' * 60}"),
        Utterance("Ann", HOSTILE),
        Utterance("IDL", ""),
    ]
    return Report(
        title=f"A report of {HOSTILE}",
        intro="Hand-made numbers.",
        tables=[main_table(), corpora_table(), curve_table()],
        examples=[
            {"partner": HOSTILE, "gold": "yes | no\n*maybe*", "IDL": "i sing ."},
            {"partner": "hi", "gold": "hello", "IDL": "", "FT": HOSTILE},
        ],
        highlighted=[
            Highlighted(
                "IDL, person 1",
                [
                    Span("R: i sing", 0.1, False),
                    Span(" songs", 1.0, True),
                    Span("\n", 0.0, False),
                    Span(HOSTILE, 0.5, False),
                ],
            )
        ],
        settings={"model": "offline", "scale": {"rows": 120, "learning_rate": 1e-4}, "path": "x/" * 120},
        notes=["Human evaluation was not run: it needs people."],
        seconds=5230.4,
        conversations=[Conversation(f"Ann and {HOSTILE}", "Both speak for themselves.", turns)],
    )


def text_of(*tables: Table, **about) -> str:
    return markdown(Report("A report", "", list(tables), **about), [measure(table) for table in tables])
