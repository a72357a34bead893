"""The page of a report: its markup, and what a real browser makes of it on a phone and on a screen."""

import re
from dataclasses import replace

import pytest

from tests.report.handmade import HOSTILE, PEOPLE, curve_table, main_table, report

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes

from idl_hf.report.html import html, render
from idl_hf.report.layout import measure
from idl_hf.report.results import Column, Conversation, Highlighted, Line, Report, Span, Table, Utterance
from tests.report.html_elements import Elements

PLOTS = 9 + 2 + 2  # one for each column that was measured
WIDTHS = (400, 1200)


def page_of(**about) -> str:
    return render(Report("A report", "", **({"tables": []} | about)))["report.html"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three files of the hand-made report."""
    folder = tmp_path_factory.mktemp("report")
    for name, text in render(report()).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def elements(folder):
    return Elements((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda width: f"{width} px")
def opened(browser, folder, request):
    """(the page at one width, the addresses it asked for, what it complained of)"""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda fetched: asked.append(fetched.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri(), wait_until="load")
    yield page, asked, complaints
    page.close()


def test_a_report_is_three_files(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["report.html", "report.json", "report.md"]


def test_a_table_that_cannot_be_compared_makes_no_report():
    table = main_table()
    del table.lines[0].values["nll"][PEOPLE[0]]
    with pytest.raises(ValueError, match=f"only 'System' has {PEOPLE[0]}"):
        render(replace(report(), tables=[table]))


def test_the_same_report_is_the_same_page(folder):
    shown = report()
    text = html(shown, [measure(table) for table in shown.tables])
    assert text == (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_of_the_text_becomes_code(elements):
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in elements.found}
    for _, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        assert all(attributes.get(name, "#").startswith("#") for name in ("src", "href", "xlink:href"))
    assert elements.text.count(HOSTILE) >= 4


def test_plots_and_tables_have_names(elements):
    plots = elements.of("svg")
    assert len(plots) == PLOTS
    assert all(plot["role"] == "img" for plot in plots)
    assert len({plot["aria-label"] for plot in plots}) == PLOTS
    assert all(cell.get("scope") in ("col", "row", "rowgroup") for cell in elements.of("th"))
    boxes = [box for box in elements.of("div") if box.get("role") == "region"]
    assert len(boxes) == len(elements.of("table"))
    assert all(box["aria-label"] and box["tabindex"] == "0" for box in boxes)


def test_dots_are_at_the_means_and_intervals_as_wide(monkeypatch):
    dots, intervals = {}, {}
    monkeypatch.setattr(
        Axes, "plot", lambda self, x, y, **style: (intervals if isinstance(y, list) else dots).update({str(y): x})
    )
    table = main_table()
    one = replace(table, columns=table.columns[1:2])
    cells = measure(one)
    page_of(tables=[one])
    for i in range(8):
        estimate = cells[i, "bleu_2"].estimate
        assert dots[str(i)] == pytest.approx(100 * estimate.mean)
        assert intervals[f"[{i}, {i}]"] == pytest.approx([100 * estimate.low, 100 * estimate.high])


def test_the_scale_of_dots_is_where_they_are(monkeypatch):
    scales = []
    monkeypatch.setattr(
        "idl_hf.report.plots.plot", lambda figure, *names: scales.append(figure.axes[0].get_xlim()) or ""
    )
    values = [{str(person): 0.9 + 0.001 * (person + i) for person in range(9)} for i in range(2)]
    lines = [Line(str(i), "ours", {"score": own}) for i, own in enumerate(values)]
    page_of(tables=[Table("t", [Column("score", "Score")], lines)])
    ((low, high),) = scales
    assert 90 < low < 90.4  # of means of 90.4 and 90.5
    assert 90.5 < high < 91


def test_curves_and_their_bands_are_the_numbers_by_x(monkeypatch):
    lines, bands = [], []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda self, x, y, **style: lines.append((x, y)))
    monkeypatch.setattr("matplotlib.axes.Axes.fill_between", lambda self, x, *bounds, **style: bands.append(bounds))
    table = curve_table()
    one = replace(table, columns=table.columns[:1])
    cells = measure(one)
    page_of(tables=[one])
    estimates = [cells[i, "p_f1"].estimate for i in (0, 2, 1)]  # IDL with 0, 1 and 5 references
    assert lines[0] == ([0.0, 1.0, 5.0], pytest.approx([100 * estimate.mean for estimate in estimates]))
    low, high = bands[0]
    assert low == pytest.approx([100 * estimate.low for estimate in estimates])
    assert high == pytest.approx([100 * estimate.high for estimate in estimates])


def test_shares_are_one_bar_a_line_each_part_where_the_one_before_ends(monkeypatch):
    bars = []
    draw = Axes.barh
    monkeypatch.setattr(Axes, "barh", lambda axes, y, width, *rest, **style: [
        bars.append((y, style.get("left"), width)), draw(axes, y, width, *rest, **style)
    ][1])  # fmt: skip
    columns = [Column(key, key, lower_is_better=None) for key in ("win", "tie", "lose", "net")]
    values = {"a": (0.5, 0.2, 0.3, 0.2), "b": (0.7, 0.0, 0.3, 0.4)}
    by_person = {column.key: {name: own[i] for name, own in values.items()} for i, column in enumerate(columns)}
    lines = [Line("persona", "", by_person), Line("style", "", {"win": {"a": 1.0}})]
    page = page_of(tables=[Table("t", columns, lines, shares=("win", "tie", "lose"))])
    assert page.count("<figure>") == 2
    parts = [(y, left, pytest.approx(width)) for y, left, width in bars if left is not None]
    assert parts == [(0, 0, 60), (0, pytest.approx(60), 10), (0, pytest.approx(70), 30), (1, 0, 100)]
    assert len(bars) == len(parts)  # win - lose is a dot, as ever
    assert "<strong>" not in page  # neither is better
    assert not re.search("[↑↓]", page)


def test_what_has_no_number_or_no_interval_is_drawn_without_warning(recwarn):
    table = main_table()
    nan = Line("broken", "ours", {"bleu_1": {"a": float("nan")}})
    whole = [Line("whole", "baseline", {}, {"bleu_1": 0.3}), Line("one person", "ours", {"bleu_2": {"a": 0.5}})]
    assert page_of(tables=[Table("t", table.columns, [nan, *whole])]).count("<svg") == 2
    curve = [Line(name, "ours", {}, {"bleu_1": 0.3}, x=x) for name, x in (("a", 1), ("b", 1))]
    assert page_of(tables=[Table("t", table.columns, curve)]).count("<svg") == 1
    assert page_of(tables=[Table("t", table.columns, [])]).count("<svg") == 0
    assert not list(recwarn)


def test_the_heavier_the_darker():
    weights = {" light": 0.1, " heavy\n": 1.0, "none": 0.0, " ": 0.5, "": 1}
    spans = [Span(text, weight, text in (" heavy\n", " ")) for text, weight in weights.items()]
    text = page_of(highlighted=[Highlighted("attention", spans)])
    shown = re.search(r'<p class="spans">(.*?)</p>', text, re.DOTALL)[1]
    assert shown == (
        ' <mark style="background: rgb(240 200 0 / 0.10)">light</mark>'
        ' <mark style="background: rgb(240 200 0 / 1.00)"><strong>heavy</strong></mark>\nnone '
    )
    with pytest.raises(ValueError, match=r"weight 1\.2\. Expected weights from 0 to 1"):
        Highlighted("attention", [Span("a", 1.2, False)])


def test_a_conversation_is_a_list_of_who_says_what():
    turns = [Utterance("Ann <a>", "hi\nthere"), Utterance("Bob", "")]
    text = page_of(conversations=[Conversation("Ann & Bob", "", turns)])
    assert (
        '<section>\n<h2>Ann &amp; Bob</h2>\n<dl class="turns">\n'
        "<div><dt>Ann &lt;a&gt;</dt><dd>hi\nthere</dd></div>\n<div><dt>Bob</dt><dd>(empty)</dd></div>\n</dl>\n"
    ) in text


def test_in_a_browser_tables_and_plots_are_there_to_see(opened):
    page, _, _ = opened
    main, corpora, *curves = page.locator("section > .results:not(.differences) table").all()
    assert page.locator(".differences tbody tr").count() == 7 + 1 + 1  # of IDL from all other lines
    assert page.locator(".said li").count() == 1 + 2 + 1
    assert main.locator("tbody tr").count() == 8
    assert main.locator("thead th").count() == 1 + 9
    assert corpora.locator("tbody tr").count() == 4 + 2  # and a heading for each corpus
    assert [curve.locator("tbody tr").count() for curve in curves] == [3, 3]
    plots = page.locator("figure svg").all()
    assert len(plots) == PLOTS
    boxes = [plot.bounding_box() for plot in plots]
    assert all(box["width"] > 250 and box["height"] > 80 for box in boxes)
    for text in (
        "Hand-made numbers.",
        "IDL w/o criterion",
        "i sing .",
        "Human evaluation was not run: it needs people.",
    ):
        assert page.get_by_text(text, exact=True).first.is_visible()


def test_in_a_browser_the_page_itself_never_scrolls_sideways(opened):
    page, _, _ = opened
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """width => [...document.querySelectorAll('body *')].filter(
        of => !of.closest('.wide, svg, details:not([open])') && of.getBoundingClientRect().right > width + 1
    ).map(of => of.outerHTML.slice(0, 100))"""
    assert page.evaluate(beyond, width) == []
    table = page.locator(".results .wide").first
    is_phone = width == WIDTHS[0]
    assert table.evaluate("of => of.scrollWidth > of.clientWidth") == is_phone
    assert page.locator(".sideways").first.is_visible() == is_phone


def test_in_a_browser_the_names_of_lines_stay_in_sight(opened):
    page, _, _ = opened
    table = page.locator(".results .wide").first
    table.evaluate("of => of.scrollTo(of.scrollWidth, 0)")
    name = table.locator("tbody th").first.bounding_box()
    assert name["x"] == pytest.approx(table.bounding_box()["x"], abs=2)


def test_in_a_browser_replies_stand_side_by_side_where_there_is_room(opened):
    page, _, _ = opened
    tops = {round(reply.bounding_box()["y"]) for reply in page.locator(".example").first.locator("dl > div").all()}
    assert len(tops) == (1 if page.viewport_size["width"] == WIDTHS[1] else 3)


def test_in_a_browser_speakers_stand_beside_what_they_say_where_there_is_room(opened):
    page, _, _ = opened
    turns = page.locator(".turns > div").all()
    assert len(turns) == 4
    speakers, texts = ([turn.locator(tag).bounding_box() for turn in turns] for tag in ("dt", "dd"))
    wide = page.viewport_size["width"] == WIDTHS[1]
    for speaker, text in zip(speakers, texts, strict=True):
        assert (text["x"] > speaker["x"] and text["y"] == speaker["y"]) == wide
        assert (text["x"] == speaker["x"] and text["y"] >= speaker["y"] + speaker["height"]) != wide
    assert len({text["x"] for text in texts}) == 1


def test_in_a_browser_weight_is_background_and_keywords_are_bold(opened):
    page, _, _ = opened
    mark = page.locator(".spans mark").nth(1)
    assert mark.evaluate("of => getComputedStyle(of).backgroundColor") == "rgb(240, 200, 0)"
    strong = mark.locator("strong")
    assert int(strong.evaluate("of => getComputedStyle(of).fontWeight")) >= 700
    assert "underline" in strong.evaluate("of => getComputedStyle(of).textDecorationLine")
    assert mark.evaluate("of => getComputedStyle(of).color") == "rgb(34, 34, 34)"


def test_in_a_browser_the_tests_unfold(opened):
    page, _, _ = opened
    tests = page.locator("details").first
    cell = tests.get_by_role("cell", name="ICL").or_(tests.get_by_role("cell", name="FT")).first
    assert not cell.is_visible()
    tests.locator("summary").click()
    assert cell.is_visible()
    tests.locator("summary").click()


def test_in_a_browser_nothing_is_fetched_or_run(opened, folder):
    page, asked, complaints = opened
    assert asked == [(folder / "report.html").as_uri()]
    assert complaints == []
    assert page.evaluate("document.scripts.length + document.images.length") == 0
