"""The page of a report: its markup, and what a real browser makes of it on a phone and on a screen."""

import re
import shutil
from dataclasses import replace

import pytest

from tests.report.handmade import HOSTILE, PEOPLE, curve_table, main_table, report

pytest.importorskip("matplotlib")

from idl_hf.report.html import html, write_report
from idl_hf.report.layout import measure
from idl_hf.report.results import Highlighted, Line, Report, Table
from tests.report.html_elements import Elements

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PLOTS = 9 + 2 + 2  # one for each column that was measured
WIDTHS = (400, 1200)


def page_of(**about) -> str:
    of = Report("A report", "", **({"tables": []} | about))
    return html(of, [measure(table) for table in of.tables])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three files of the hand-made report."""
    made = tmp_path_factory.mktemp("report") / "new"
    write_report(made, report())
    return made


@pytest.fixture(scope="module")
def elements(folder):
    return Elements((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("No Chromium is installed to open the page in. Install it with `apt-get install -y chromium`.")
    reason = "Playwright drives the browser and is not installed. Install it with `pip install playwright`."
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found)  # without a sandbox, as root needs it
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=WIDTHS, ids=lambda width: f"{width} px")
def opened(browser, folder, request):
    """(the page at one width, the addresses it asked for, what it complained of)"""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    asked, complaints = [], []
    page.on("request", lambda made: asked.append(made.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri(), wait_until="load")
    yield page, asked, complaints
    page.close()


def test_all_three_files_are_written_and_nothing_else(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["report.html", "report.json", "report.md"]


def test_a_report_that_cannot_be_made_leaves_the_one_before(tmp_path):
    table = main_table()
    del table.lines[0].values["nll"][PEOPLE[0]]
    (tmp_path / "report.md").write_text("before")
    with pytest.raises(ValueError, match=f"only 'System' has {PEOPLE[0]}"):
        write_report(tmp_path, replace(report(), tables=[table]))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.md", "before")]


def test_the_same_report_is_the_same_page(folder):
    of = report()
    assert html(of, [measure(table) for table in of.tables]) == (folder / "report.html").read_text(encoding="utf-8")


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


def test_bars_are_as_long_as_the_means_and_intervals_as_wide(monkeypatch):
    bars, intervals = {}, {}
    monkeypatch.setattr("matplotlib.axes.Axes.barh", lambda self, y, width, *args, **style: bars.update({y: width}))
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda self, x, y, **style: intervals.update({str(y): x}))
    table = main_table()
    one = replace(table, columns=table.columns[1:2])
    cells = measure(one)
    page_of(tables=[one])
    for i in range(8):
        of = cells[i, "bleu_2"].estimate
        assert bars[i] == pytest.approx(100 * of.mean)
        assert intervals[f"[{i}, {i}]"] == pytest.approx([100 * of.low, 100 * of.high])


def test_curves_and_their_bands_are_the_numbers_by_x(monkeypatch):
    lines, bands = [], []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda self, x, y, **style: lines.append((x, y)))
    monkeypatch.setattr("matplotlib.axes.Axes.fill_between", lambda self, x, *bounds, **style: bands.append(bounds))
    table = curve_table()
    one = replace(table, columns=table.columns[:1])
    cells = measure(one)
    page_of(tables=[one])
    of = [cells[i, "p_f1"].estimate for i in (0, 2, 1)]  # IDL with 0, 1 and 5 references
    assert lines[0] == ([0.0, 1.0, 5.0], pytest.approx([100 * at.mean for at in of]))
    low, high = bands[0]
    assert low == pytest.approx([100 * at.low for at in of])
    assert high == pytest.approx([100 * at.high for at in of])


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
    spans = [(" light", 0.1, False), (" heavy\n", 1.0, True), ("none", 0.0, False), (" ", 0.5, True), ("", 1, False)]
    text = page_of(highlighted=[Highlighted("attention", spans)])
    shown = re.search(r'<p class="spans">(.*?)</p>', text, re.DOTALL)[1]
    assert shown == (
        ' <mark style="background: rgb(240 200 0 / 0.10)">light</mark>'
        ' <mark style="background: rgb(240 200 0 / 1.00)"><strong>heavy</strong></mark>\nnone '
    )
    with pytest.raises(ValueError, match=r"weight 1\.2\. Expected weights from 0 to 1"):
        Highlighted("attention", [("a", 1.2, False)])


def test_in_a_browser_tables_and_plots_are_there_to_see(opened):
    page, _, _ = opened
    main, corpora, *curves = page.locator("section > .results table").all()
    assert page.locator("details .results tbody tr").count() == 7 + 1 + 1  # differences of IDL from all other lines
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
    assert table.evaluate("of => of.scrollWidth > of.clientWidth") == (width == WIDTHS[0])


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
