"""The tab Judge in a real browser: several raters, kills between clicks, and nothing that tells whose reply it is."""

import json
import random
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

import pytest
from sklearn.metrics import cohen_kappa_score

from idl_hf.cli import main
from idl_hf.evaluation.ratings import CRITERIA, OUTCOMES, standing
from idl_hf.evaluation.ratings_file import create, read_ratings
from tests.app.conftest import drawn, free_port, watch
from tests.evaluation.studies import SYSTEMS, pair, study

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "<img src=https://example.org/x.png onerror=alert(1)> ${1+1} {{2*3}} ![x](https://example.org/y.png) &amp; </div>"
)


@dataclass
class App:
    """`idl-hf app` as a process of its own, which can be killed and started again at the same port."""

    path: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["app", "--ratings", str(self.path), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "idl_hf.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for line in self.process.stdout:
            if line.startswith(b"Open http"):
                return
        raise AssertionError("the app did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()


def started(path: Path) -> Iterator[App]:
    app = App(path, free_port())
    try:
        app.start()
        yield app
    finally:
        app.kill()


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("judge") / "secret-ratings.jsonl"
    asked = study(10, 3, identical=(4,), seed=918273645)
    hostile = pair(9, "p0", (HOSTILE, ""))
    create(path, replace(asked, pairs=(*asked.pairs[:9], hostile)))
    return path


@pytest.fixture(scope="module")
def app(path):
    yield from started(path)


class Wire:
    """A relay to the app that keeps every byte that the app sends."""

    def __init__(self, port: int) -> None:
        self.sent = bytearray()
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            browser, app = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._port))
            Thread(target=self._relay, args=(browser, app, False), daemon=True).start()
            Thread(target=self._relay, args=(app, browser, True), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, keep: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if keep:
                    self.sent += data
                else:  # or what is sent could not be read
                    data = re.sub(rb"(?i)accept-encoding:", b"x-accept-nothin:", data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@dataclass
class Rater:
    """A page on which somebody judges, with the addresses that it asked for."""

    page: object
    name: str
    asked: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.page.fill("#judge-name input, #judge-name textarea", self.name)
        self.page.click("#judge-begin")
        self.page.wait_for_selector("#judge-pair .reply, #judge-progress h3")

    def replies(self) -> list[str]:
        return [text.strip() for text in self.page.locator(".reply .line").all_inner_texts()]

    def progress(self) -> str:
        return self.page.inner_text("#judge-progress")

    def pick(self, criterion: str, choice: str) -> None:
        self.page.click(f"#judge-{criterion} label:has-text('{choice}')")

    def say(self, criterion: str, choice: str) -> None:
        """Click, and wait until the page says that it is saved."""
        self.pick(criterion, choice)
        self.page.wait_for_selector(f"#judge-progress p:text-matches('Saved of this pair:.*{criterion}')")

    def chosen(self, criterion: str) -> str | None:
        labels = self.page.locator(f"#judge-{criterion} label:has(input:checked)")
        return labels.first.inner_text().strip() if labels.count() else None

    def step(self, button: str) -> None:
        """Press a button and wait until another pair, or the end, is shown."""
        before = self.page.inner_text("#judge-progress h3")
        self.page.click(f"#judge-{button}")
        self.page.wait_for_function(
            "before => document.querySelector('#judge-progress h3')?.innerText !== before", arg=before
        )

    @property
    def is_done(self) -> bool:
        return "are done" in self.progress()


def opened(browser, app: App, name: str, width: int = 1280, url: str = "") -> Rater:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(60_000)
    rater = Rater(page, name)

    watch(page)
    page.on("request", lambda request: rater.asked.append(request.url))
    page.goto(url or app.url)
    page.wait_for_selector("#judge-name")
    drawn(page)
    return rater


def prefer(rater: Rater, word: str) -> str:
    """Return which of the replies that are shown has a word in it."""
    first, second = rater.replies()
    return "Reply 1" if word in first else "Reply 2" if word in second else "Tie"


def test_a_rater_who_prefers_one_system_wherever_it_stands_has_it_win_and_no_traffic_tells_whose_is_whose(
    browser, app, path
):
    other = opened(browser, app, "zenobia")
    other.begin()
    other.say("persona", "Tie")
    wire = Wire(app.port)
    rater = opened(browser, app, "Ann", url=wire.url)
    rater.begin()
    sides, order = [], []
    while not rater.is_done:
        choice = prefer(rater, "first says")
        sides.append(choice)
        order.append(re.search(r"Pair (\d+) of (\d+)", rater.progress()).groups())
        for criterion in CRITERIA:
            rater.say(criterion, choice)
        rater.step("next")
    other.page.close()
    saved = read_ratings(path)
    verdicts = standing(saved.ratings)["ann"]
    assert order == [(str(number), "9") for number in range(1, 10)]
    assert sorted(verdicts) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert all(set(verdicts[number].values()) == {"win"} for number in verdicts if number != 9)
    assert set(verdicts[9].values()) == {"tie"}
    left = saved.study.left("ann")
    assert sides[:8] == ["Reply 1" if left[number] == 0 else "Reply 2" for number in saved.study.asked[:8]]
    assert {rating.left for rating in saved.ratings if rating.rater == "ann"} == {0, 1}

    sent = wire.sent.decode(errors="replace")
    answers = "\n".join(re.findall(r"^data: .*$", sent, re.MULTILINE))  # of the app to clicks
    assert all(
        f"first says {number}" in answers for number in (0, 1, 2, 3, 5, 6, 7, 8)
    )  # all that was shown was heard
    hidden = (*SYSTEMS, "secret", "baseline-words", "918273645", str(path.parent), "zenobia", "A note.", "p0-3")
    for word in (*hidden, "dialogues_idl", "we say the same"):
        assert word not in sent, word
    for word in ("win", "lose", "left", "outcome", "systems"):  # which Gradio's own code has
        assert not re.search(rf"\b{word}\b", answers), word
    assert all(url.startswith(wire.url) for url in rater.asked)
    rater.page.close()


@pytest.mark.browser
def test_nothing_else_that_the_app_answers_tells_it(app, path):
    for place in (
        "config",
        "gradio_api/info",
        f"gradio_api/file={path}",
        f"file={path}",
        "gradio_api/openapi.json",
        "",
    ):
        try:
            with urllib.request.urlopen(f"{app.url}/{place}", timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode().replace(str(path), "")  # of what was asked for
        for word in (*SYSTEMS, "918273645", "first says", "zenobia"):
            assert word not in text, (place, word)


def test_a_text_is_shown_as_it_is_and_runs_and_fetches_nothing(browser, app):
    rater = opened(browser, app, "bo")
    dialogs = []
    rater.page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
    rater.begin()
    for _ in range(8):
        rater.step("skip")
    assert sorted(rater.replies()) == sorted([HOSTILE, "(no reply)"])
    assert not dialogs
    assert not [url for url in rater.asked if "example.org" in url]
    rater.step("skip")
    assert "0 judged, 9 skipped" in rater.progress()
    rater.page.close()


def test_a_rater_comes_back_to_what_is_left_with_what_was_said(browser, app, path):
    rater = opened(browser, app, "Cy")
    rater.begin()
    for criterion, choice in zip(CRITERIA, ("Reply 1", "Tie", "Reply 2"), strict=True):
        rater.say(criterion, choice)
    rater.step("next")
    rater.page.click("#judge-next")
    rater.page.wait_for_selector("text=Still to say: persona, style, fluency")
    assert "Pair 2 of 9" in rater.progress()
    rater.say("style", "Reply 2")
    rater.page.close()
    again = opened(browser, app, " cy ")
    again.begin()
    assert "Pair 2 of 9" in again.progress()
    assert [again.chosen(criterion) for criterion in CRITERIA] == [None, "Reply 2", None]
    assert "1 judged" in again.progress()
    again.step("back")
    assert [again.chosen(criterion) for criterion in CRITERIA] == ["Reply 1", "Tie", "Reply 2"]
    again.pick("persona", "Reply 2")
    again.step("next")
    again.page.close()
    left, said = read_ratings(path).study.left("cy")[0], standing(read_ratings(path).ratings)["cy"][0]
    assert (said["persona"], said["style"]) == ("lose" if left == 0 else "win", "tie")


def test_the_last_of_clicks_in_a_hurry_is_the_one_that_holds(browser, app, path):
    rater = opened(browser, app, "dee")
    rater.begin()
    for choice in ("Reply 1", "Reply 2", "Tie", "Reply 1", "Tie"):
        rater.pick("persona", choice)
    rater.pick("style", "Reply 2")
    rater.pick("fluency", "Reply 1")
    rater.step("next")
    rater.page.close()
    saved = read_ratings(path)
    said, left = standing(saved.ratings)["dee"][0], saved.study.left("dee")[0]
    assert said == {
        "persona": "tie",
        "style": "lose" if left == 0 else "win",
        "fluency": "win" if left == 0 else "lose",
    }
    assert sum(rating.rater == "dee" for rating in saved.ratings) == 7


@pytest.mark.parametrize("width", [390, 1280])
def test_all_is_in_sight_without_scrolling_sideways(browser, app, width):
    rater = opened(browser, app, f"wide {width}", width)
    rater.begin()
    assert rater.page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [box.bounding_box() for box in rater.page.locator(".reply").all()]
    assert (boxes[0]["y"] == boxes[1]["y"]) == (width == 1280)
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    buttons = [rater.page.locator(f"#judge-{name}").bounding_box() for name in ("back", "skip", "next")]
    assert len({box["y"] for box in buttons}) == 1
    rater.page.close()


def test_a_click_that_cannot_be_saved_is_told_and_taken_back(browser, app, path):
    rater = opened(browser, app, "eve")
    rater.begin()
    rater.say("persona", "Tie")
    moved = path.rename(path.with_name("moved.jsonl"))
    try:
        rater.pick("persona", "Reply 1")
        rater.page.wait_for_selector("text=This click is not saved")
        rater.page.wait_for_function("document.querySelectorAll('#judge-persona input')[1].checked")
    finally:
        moved.rename(path)
    rater.say("style", "Tie")
    rater.page.close()
    assert standing(read_ratings(path).ratings)["eve"][0] == {"persona": "tie", "style": "tie"}


# Kills


def test_two_raters_judge_with_kills_between_clicks_and_their_kappa_is_that_of_what_they_clicked(
    browser, tmp_path, capsys
):
    path = tmp_path / "ratings.jsonl"
    create(path, study(4, 2))
    app, chance = App(path, free_port()), random.Random(3)
    clicked: dict[str, dict[tuple[int, str], str]] = {"ann": {}, "bo": {}}
    try:
        app.start()
        raters = {name: opened(browser, app, name) for name in clicked}
        for rater in raters.values():
            rater.begin()
        clicks, kills = 0, sorted(chance.sample(range(1, 24), 2))
        for number in range(4):
            for name, rater in raters.items():
                for criterion in CRITERIA:
                    choice = chance.choice(("Reply 1", "Tie", "Reply 2"))
                    rater.say(criterion, choice)
                    clicked[name][number, criterion] = choice
                    clicks += 1
                    if clicks in kills:  # the pages stay open, and go on
                        app.kill()
                        app.start()
                rater.step("next")
        for rater in raters.values():
            assert rater.is_done
            rater.page.close()
    finally:
        app.kill()
    saved = read_ratings(path)
    expected: dict[str, list[str]] = {}
    for name, choices in clicked.items():
        left = saved.study.left(name)
        for (number, criterion), choice in choices.items():
            outcome = "tie" if choice == "Tie" else "win" if (choice == "Reply 1") == (left[number] == 0) else "lose"
            assert standing(saved.ratings)[name][number][criterion] == outcome
            expected.setdefault(f"{name} {criterion}", []).append(outcome)
    assert len(saved.ratings) == clicks == 24
    assert main(["evaluate", "--human", str(path), "--output_dir", str(tmp_path / "out")]) == 0
    lines = json.loads((tmp_path / "out" / "report.json").read_text())["tables"][1]["lines"]
    assert [line["name"] for line in lines] == list(CRITERIA)
    for line in lines:
        both = [expected[f"{name} {line['name']}"] for name in clicked]
        assert line["whole"]["kappa"] == pytest.approx(cohen_kappa_score(*both, labels=list(OUTCOMES)))
    pairs = json.loads((tmp_path / "out" / "ratings.json").read_text())["pairs"]
    assert all(set(pair["ratings"]) == {"ann", "bo"} for pair in pairs)
