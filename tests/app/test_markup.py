"""The HTML of dialogues and reasons: texts stay texts, and the line a reply leans on most stands out most."""

import re

import pytest

from idl_hf.app.judge import pair_block
from idl_hf.app.markup import lines_block, person_block, references_block
from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.chat.reasons import Reason
from idl_hf.schema import Person
from tests.evaluation.studies import pair
from tests.report.html_elements import Elements

HOSTILE = 'I have two dogs <img src="x"> <script>run()</script> &lt; \u202e'


@pytest.fixture(scope="module")
def chat(tiny_llama, tokenizer, encoder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDL_HF_CACHE", str(tmp_path_factory.mktemp("cache")))
        chat = PersonaChat(tiny_llama(), tokenizer, encoder, person_id="<b>Bo</b>")
        for number in range(2):
            turns = [("partner", f"{number} ?"), ("self", HOSTILE), ("partner", "so ?"), ("self", f"it is {number}")]
            chat.add_dialogue(turns, f"<i>{number}</i>", "<u>Ana</u>")
        chat.reply("hi ?", max_new_tokens=1)
        yield chat


def test_of_what_people_say_nothing_is_a_tag(chat):
    for html in (person_block(Person(chat.person_id, tuple(chat.dialogues)), chat), references_block(chat)):
        assert html.count("I have two dogs &lt;img src=") == 2
        assert "&amp;lt;" in html
        assert {tag for tag, _ in Elements(html).found} <= {"div", "h3", "h4", "p", "details", "summary", "b", "span"}
        assert "<b>Bo" not in html
        assert "\u202e" not in html
    assert "&lt;pre&gt;" in lines_block("<h1>", ["<pre>"])


def test_a_name_with_quotes_ends_no_attribute():
    name = """Bo" onfocus="run()' onblur='run()"""
    of_elements = [attributes for _, attributes in Elements(pair_block(pair(1, name), 0)).found]
    assert {kind for attributes in of_elements for kind in attributes} == {"class", "role", "aria-label", "tabindex"}
    [label] = [attributes["aria-label"] for attributes in of_elements if "aria-label" in attributes]
    assert label == f"What {name} said in the past"


def test_facts_stand_by_the_lines_that_state_them(chat):
    html = person_block(Person(chat.person_id, tuple(chat.dialogues)), chat)
    assert len(re.findall(r'class="line shows"', html)) == len(re.findall("have_pet", html)) == 2
    assert html.count("Cluster") == html.count("<h4>") >= 1


def test_the_line_that_a_reply_leans_on_most_stands_out_most(chat):
    last = chat.references[-1]
    falls = [0.5, 2.0, -1.0, 1.0]
    reasons = [
        Reason(last.dialogue_id, i, turn.role, turn.text, fall, 3.0)
        for i, (turn, fall) in enumerate(zip(last.turns, falls, strict=True))
    ]
    html = references_block(chat, reasons)
    opacities = [float(text) for text in re.findall(r"rgb\(255 170 0 / ([\d.]+)\)", html)]
    assert opacities == pytest.approx([0.55 * share for share in (0.25, 1, 0, 0.5)], abs=0.006)
    assert re.findall(r'class="fall">([^<]+)<', html) == ["+0.50", "+2.00", "-1.00", "+1.00"]
    assert html.count("<details open>") == 1
    assert "+3.00 nats" in html
