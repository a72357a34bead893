"""The app in a real browser: the real program, from an export to a chat, its reasons and forgetting."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.conftest import drawn, free_port, watch

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until something counts as not coming; a machine may be busy
WAIT = PATIENCE * 1000  # as Playwright counts
WIDTHS = (390, 1280)
ELSEWHERE = "http://192.0.2.1/seen"  # an address that nobody has
HOSTILE = (
    f'<img src="{ELSEWHERE}.png" onerror="window.ran = 1"> <script>window.ran = 1</script> ![it]({ELSEWHERE}.gif) '
    f"[this]({ELSEWHERE}) <b>bold</b> ${{window.ran = 1}} {{{{value}}}} $x^2$ &lt; <think>so</think>"
)
BUBBLE = ":is([data-testid=user], [data-testid=bot])"
IS_WRITTEN = f"document.querySelectorAll('{BUBBLE}')[1]?.innerText.length > 5"
EXPORT = f"""\
12/31/23, 21:04 - Messages and calls are end-to-end encrypted.
12/31/23, 21:04 - Ana: hello, any plans?
12/31/23, 21:15 - Bo: I am feeding my goats, as ever
12/31/23, 21:26 - Ana: {HOSTILE}
12/31/23, 21:37 - Bo: I have two dogs. {HOSTILE}
1/13/24, 09:00 - Ana: was it cold today?
1/13/24, 09:11 - Bo: the pond froze, so I skated to the goats
1/14/24, 09:00 - Ana: <Media omitted>
"""


@pytest.fixture(scope="module")
def server(tiny_llama, tokenizer, tmp_path_factory):
    """Runs the app: with server(model_layers, *options) as (its address, its folder for copies)."""
    folder = tmp_path_factory.mktemp("app")

    @contextmanager
    def run(layers, *options):
        model = folder / f"model-{layers}"
        if not model.exists():
            endless = tiny_llama(num_hidden_layers=layers)
            endless.get_input_embeddings().weight.data[tokenizer.eos_token_id] = 0  # as good as never drawn
            endless.save_pretrained(model)
            tokenizer.save_pretrained(model)
        port = free_port()
        command = [sys.executable, "-m", "idl_hf.cli", "app", "--model", str(model), "--encoder", "offline"]
        copies, proxy = tmp_path_factory.mktemp("copies"), socket.create_server(("127.0.0.1", 0))
        env = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
        env |= {"PYTHONPATH": str(ROOT), "IDL_HF_CACHE": str(folder / "cache"), "TMPDIR": str(copies)}
        # Whatever the app asked of another machine would come here
        env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), f"http://127.0.0.1:{proxy.getsockname()[1]}")
        log = folder / f"log-{port}"
        with log.open("w") as out:
            process = subprocess.Popen([*command, "--port", str(port), *options], stdout=out, stderr=out, env=env)
            try:
                until = time.monotonic() + PATIENCE
                while "Open http" not in log.read_text():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < until, log.read_text()
                    time.sleep(0.1)
                yield f"http://127.0.0.1:{port}", copies
                assert "Traceback" not in log.read_text()
            finally:
                process.send_signal(signal.SIGTERM)
                status = process.wait(PATIENCE)
        assert status == 0
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
        proxy.close()
        assert not list(copies.iterdir())  # nothing that was handed over is left

    return run


@pytest.fixture(scope="module")
def app(server):
    with server(2) as running:
        yield running


@pytest.fixture
def opened(browser):
    """Opens the page as a visitor of their own: opened(address, width, script that runs before it) -> page, which asks
    for nothing elsewhere."""
    contexts, asked, complaints = [], [], []

    def visit(address, width=1280, script=""):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.add_init_script(script)
        watch(page)
        page.on("request", lambda fetched: asked.append((address, fetched.url)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(f"{message.text} {message.location}") if message.type == "error" else None
            ),
        )
        page.goto(address)
        page.locator("#read-export").wait_for()
        drawn(page)
        return page

    yield visit
    for context in contexts:
        context.close()
    elsewhere = [url for address, url in asked if not url.startswith((f"{address}/", "data:", "blob:"))]
    assert asked
    assert not elsewhere
    # A page that is open while the app ends loses what tells that it is there
    assert not [complaint for complaint in complaints if "/heartbeat/" not in complaint]


def bring(page, tmp_path, text=EXPORT):
    """Hand an export over and read it."""
    file = tmp_path / "WhatsApp Chat with Bo.txt"
    file.write_text(text, encoding="utf-8")
    page.locator("#export input[type=file]").set_input_files(file)
    page.locator("#export").get_by_label(file.name).wait_for()  # its text stands in two parts once it is there
    page.locator("#read-export").click()


def paste(page, text):
    turn_to(page, "Paste")
    page.locator("#pasted textarea").fill(text)
    page.locator("#read-pasted").click()


def pick(page, name):
    page.locator("#person").get_by_text("people: pick whom").wait_for()  # a list that is open keeps what it had
    page.locator("#person input").click()
    page.get_by_role("option", name=re.compile(f"^.? *{name}")).click()
    page.locator("#dialogues h3").filter(has_text=f"{name}:").wait_for()


def turn_to(page, tab):
    page.get_by_role("tab", name=tab, exact=True).click()
    drawn(page)


def unfold(page, title):
    page.get_by_text(title).click()
    drawn(page)


def say(page, text):
    """Send a message, and wait until there is a reply."""
    number = len(bubbles(page)) + 2
    page.locator("#message textarea").fill(text)
    page.locator("#message textarea").press("Enter")
    answered(page, number)


def answered(page, number):
    """Wait until the conversation has so many bubbles, the last of them whole. Stop may be there too briefly."""
    is_begun = f"number => [...document.querySelectorAll('{BUBBLE}')].map(bubble => bubble.innerText.trim())"
    page.wait_for_function(f"{is_begun}.filter(text => text != '…').length == number", arg=number)
    page.get_by_role("button", name="Send").wait_for()


def bubbles(page):
    return page.locator(f"#conversation {BUBBLE}").all_inner_texts()


def set_length(page, tokens):
    unfold(page, "How replies are written")
    page.get_by_label("number input for Longest reply").fill(str(tokens))
    page.get_by_label("number input for Longest reply").press("Tab")


def scrolls_sideways(page):
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
def test_from_an_export_to_a_chat_its_reasons_and_forgetting(app, opened, tmp_path, width):
    address, copies = app
    page = opened(address, width)
    bring(page, tmp_path)
    account = page.locator("#account")
    account.get_by_text("WhatsApp Chat with Bo.txt: whatsapp (detected)").wait_for()
    assert account.locator("tr").all_inner_texts()[:2] == ["messages\t8", "in dialogues\t6"]
    assert not list(copies.rglob("WhatsApp*"))  # the copy goes once it is read
    pick(page, "Bo")
    page.locator("#dialogues summary").filter(has_text="Ana 2").click()
    page.locator("#dialogues").get_by_text("the pond froze, so I skated to the goats").wait_for()
    assert "Cluster 1" in page.locator("#dialogues").inner_text()
    assert "have_pet" in page.locator("#dialogues").text_content()
    assert not scrolls_sideways(page)
    turn_to(page, "Chat")
    page.locator("#about").get_by_text("You talk to Bo, known from 2 dialogues").wait_for()
    say(page, "do you have pets ?")
    said, reply = bubbles(page)
    assert (said, bool(reply.strip())) == ("do you have pets ?", True)
    assert sorted(page.locator("#references summary b").all_inner_texts()) == ["Ana 1", "Ana 2"]
    page.locator("#why").click()
    page.locator("#references .fall").first.wait_for()
    assert page.locator("#references .line").count() == page.locator("#references .fall").count() == 6
    falls = [float(text) for text in page.locator("#references .fall").all_inner_texts()]
    colours = page.locator("#references .line").evaluate_all("lines => lines.map(line => line.style.backgroundColor)")
    opacities = [float(re.search(r"([\d.]+)\)$", colour)[1]) for colour in colours]
    # Both are rounded, so that several may be the highest
    assert max(falls) <= 0 or (max(falls), max(opacities)) in zip(falls, opacities, strict=True)
    assert not scrolls_sideways(page)
    turn_to(page, "Persona")
    page.locator("#dialogue input").click()
    page.get_by_role("option", name="Ana 1").click()
    page.locator("#forget").click()
    page.locator("#forgotten").get_by_text("Forgotten: 'Ana 1'").wait_for()
    assert "as Ana had it" in page.locator("#forgotten").inner_text()
    assert page.locator("#dialogues summary b").all_inner_texts() == ["Ana 2"]
    assert not scrolls_sideways(page)
    turn_to(page, "Chat")
    page.locator("#about").get_by_text("known from 1 dialogue,").wait_for()
    assert not bubbles(page)
    say(page, "do you have pets ?")
    assert page.locator("#references summary b").all_inner_texts() == ["Ana 2"]


def test_texts_are_shown_as_they_are_written(app, opened, tmp_path):
    page = opened(app[0])
    bring(page, tmp_path)
    pick(page, "Bo")
    page.locator("#dialogues summary").filter(has_text="Ana 1").click()
    page.locator("#dialogues").get_by_text(f"I have two dogs. {HOSTILE}").wait_for()
    turn_to(page, "Chat")
    say(page, HOSTILE)
    assert bubbles(page)[0] == HOSTILE
    page.locator("#references summary").filter(has_text="Ana 1").click()
    page.locator("#references").get_by_text(f"I have two dogs. {HOSTILE}").wait_for()
    turn_to(page, "Persona")
    paste(page, f"Ana: hi\n{HOSTILE[:40]}")
    page.get_by_text(f"found '{HOSTILE[:40]}'").wait_for()
    assert page.evaluate("window.ran") is None
    assert page.locator(f"[src^='{ELSEWHERE}'], [href^='{ELSEWHERE}']").count() == 0
    headers = urllib.request.urlopen(app[0]).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    of_another_name = urllib.request.Request(app[0], headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(of_another_name)


def test_visitors_know_nothing_of_each_other(app, opened, tmp_path):
    first, second = opened(app[0]), opened(app[0])
    bring(first, tmp_path)
    pick(first, "Bo")
    turn_to(first, "Chat")
    say(first, "hello ?")
    assert second.locator("#dialogues h3").count() == 0
    second.locator("#person input").click()
    assert second.get_by_role("option").count() == 0
    paste(second, "Kim: hi\nBo: i am another")
    pick(second, "Bo")
    turn_to(second, "Chat")
    second.locator("#about").get_by_text("known from 1 dialogue,").wait_for()
    assert not bubbles(second)
    say(second, "who are you ?")
    assert second.locator("#references summary b").all_inner_texts() == ["Kim 1"]
    assert bubbles(first)[0] == "hello ?"
    say(first, "and now ?")
    assert "Kim" not in first.locator("#references").inner_text()
    second.reload()
    second.locator("#read-export").wait_for()
    assert second.locator("#dialogues h3").count() == 0


def test_what_was_said_is_taken_back_answered_again_and_begun_anew(app, opened):
    page = opened(app[0])
    paste(page, "Kim: hi\nBo: hello there\n\nKim: any news ?\nBo: not a word")
    pick(page, "Bo")
    turn_to(page, "Chat")
    page.locator("#retry").click()
    page.get_by_text("There is no reply yet; say something first.").wait_for()
    say(page, "one ?")
    say(page, "two ?")
    unfold(page, "How replies are written")
    page.get_by_label("Seed").fill("x")
    page.locator("#message textarea").fill("three ?")
    page.locator("#message textarea").press("Enter")
    page.get_by_text("The setting seed must be a whole number").wait_for()
    page.wait_for_function("document.querySelector('#message textarea').value == 'three ?'")
    assert len(bubbles(page)) == 4
    page.get_by_label("Seed").fill("")
    page.get_by_label("number input for Temperature").fill("2")
    page.get_by_label("number input for Temperature").press("Tab")
    before = bubbles(page)
    page.locator("#retry").click()
    page.wait_for_function(f"before => document.querySelectorAll('{BUBBLE}')[3]?.innerText != before", arg=before[3])
    answered(page, 4)
    assert bubbles(page)[:3] == before[:3]
    assert page.locator("#message textarea").input_value() == "three ?"
    page.locator("#message textarea").fill("")
    page.locator("#undo").click()
    page.wait_for_function("document.querySelector('#message textarea').value == 'two ?'")
    assert bubbles(page) == before[:2]
    page.locator("#reset").click()
    page.locator(f"#conversation {BUBBLE}").first.wait_for(state="detached")
    assert page.locator("#references summary").count() == 0


def test_a_reply_can_be_stopped_or_left_and_the_model_answers_the_next(server, opened):
    with server(24) as (address, _):
        page, other = opened(address), opened(address)
        for visitor in (page, other):
            paste(visitor, "Kim: hi\nBo: hello there")
            pick(visitor, "Bo")
            turn_to(visitor, "Chat")
        set_length(page, 400)
        page.locator("#message textarea").fill("go on ?")
        page.locator("#message textarea").press("Enter")
        page.wait_for_function(IS_WRITTEN)
        page.get_by_role("button", name="Stop").dispatch_event("click")  # Playwright waits until nothing moves
        page.get_by_role("button", name="Send").wait_for()
        page.wait_for_function("document.querySelector('#message textarea').value == 'go on ?'")
        page.locator(f"#conversation {BUBBLE}").first.wait_for(state="detached")
        page.locator("#message textarea").press("Enter")
        page.wait_for_function(IS_WRITTEN)
        page.close()  # while its reply is written
        say(other, "are you there ?")
        assert len(bubbles(other)) == 2
        other.close()  # else what it still asks for would be lost with the app


# The word that ends a stream comes late, as it may where much else goes on
LATE_END = """
const plain = window.fetch;
window.fetch = async (...asked) => {
  const answer = await plain(...asked);
  if (!String(asked[0].url ?? asked[0]).includes("/queue/data")) return answer;
  const seen = new TextDecoder();
  const late = new TransformStream({
    async transform(piece, pieces) {
      if (seen.decode(piece).includes('"close_stream"')) {
        window.ends = (window.ends ?? 0) + 1;
        await new Promise(resolve => setTimeout(resolve, 1000));
      }
      pieces.enqueue(piece);
    },
  });
  return new Response(answer.body.pipeThrough(late), answer);
};
"""


def test_what_is_asked_for_as_an_event_ends_is_not_lost(app, opened):
    page = opened(app[0], script=LATE_END)
    for people in range(2, 6):
        paste(page, "\n".join(f"P{person}: hello" for person in range(people)))
        page.locator("#account").get_by_text(f"Read {people} dialogues of {people} people.").wait_for()
        page.wait_for_function("people => window.ends > people - 2", arg=people)


def test_the_people_of_a_folder_are_there_at_once_and_saved_where_one_asks(server, opened, tmp_path):
    turns = [{"role": "partner", "text": "hi ?"}, {"role": "self", "text": "ahoy"}]
    data = tmp_path / "logs"
    data.mkdir()
    for split, name in (("train", "ruth-1"), ("validation", "ruth-2")):
        line = {"person_id": "ruth", "dialogue_id": name, "turns": [{"role": "self", "text": name}, *turns]}
        (data / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    with server(2, "--data_dir", str(data)) as (address, _):
        page = opened(address)
        page.locator("#account").get_by_text("1 people with 2 dialogues").wait_for()
        page.locator("#dialogues h3").filter(has_text="ruth:").wait_for()  # the only one is picked
        unfold(page, "Save this person on this machine")
        page.locator("#save").click()
        page.get_by_text("A folder is missing").wait_for()
        page.locator("#save-folder textarea, #save-folder input").first.fill(str(tmp_path / "kept"))
        page.locator("#save").click()
        page.locator("#saved").get_by_text("Saved in").wait_for()
        kept = json.loads((tmp_path / "kept" / "persona.json").read_text())
        assert [dialogue["dialogue_id"] for dialogue in kept["dialogues"]] == ["ruth-1", "ruth-2"]
        page.locator("#dialogue input").click()
        page.get_by_role("option", name="ruth-2").click()
        page.locator("#forget").click()
        page.locator("#forgotten").get_by_text("sed").wait_for()
        assert "validation.jsonl" in page.locator("#forgotten").inner_text()
        kept = json.loads((tmp_path / "kept" / "persona.json").read_text())
        assert [dialogue["dialogue_id"] for dialogue in kept["dialogues"]] == ["ruth-1"]
        page.close()


def test_an_export_that_cannot_be_read_stays_until_it_is_taken_away(app, opened, tmp_path):
    address, copies = app
    page = opened(address, 390)
    page.locator("#read-export").click()
    page.get_by_text("There is no file yet").wait_for()
    bring(page, tmp_path, "no chat at all\n")
    page.get_by_text("is in none of the formats that are known").wait_for()
    assert str(copies) not in page.locator("body").inner_text()
    assert list(copies.rglob("WhatsApp*"))
    page.locator("#export").get_by_label("Clear").click()
    until = time.monotonic() + PATIENCE
    while list(copies.rglob("WhatsApp*")):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not scrolls_sideways(page)
