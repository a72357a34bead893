"""Scripts tell a mistake on their command line in a sentence, as the verbs do."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SCRIPTS = [script for script in EXAMPLES if "command_line import run" in script.read_text(encoding="utf-8")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize("words", [["--no_such_option", "1"], ["--config", "gone.yaml"]], ids=["option", "config"])
def test_a_mistake_is_one_sentence(script, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    message = str(ended.value)
    assert message.startswith(f"{script.name}: ")
    assert words[0 if words[1] == "1" else 1] in message
    assert message.count("\n") == 0
    assert "usage" not in capsys.readouterr().err


def test_all_but_the_scripts_with_parsers_of_their_own_are_there():
    assert len(SCRIPTS) >= 8
