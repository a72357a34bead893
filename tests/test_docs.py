"""What the README and the docs show: commands have the options they name, and code that does not say why not runs."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from idl_hf import PersonaChat
from idl_hf.cli import VERBS, main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    file.relative_to(ROOT).as_posix()
    for file in [ROOT / "README.md", ROOT / "examples" / "recipes" / "README.md", *ROOT.glob("docs/**/*.md")]
    if "results" not in file.parts
)
_BLOCK = re.compile(r"((?:^<!--(?:(?!-->).)*-->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (run|not run|before|file|prints)(?:: (.*?))? -->", re.DOTALL)
_CODE = ("python", "bash")


class Block(NamedTuple):
    """A block of a page, with what the comments above it say."""

    page: str
    language: str
    text: str
    said: dict[str, str]


def blocks(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        said = {comment[1]: comment[2] or "" for comment in _COMMENT.finditer(found[1])}
        yield Block(page, found[2], found[3], said)


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command of ours in a block, without what the shell makes of them."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 else line.split()
        for i, word in enumerate(words):
            if word == "idl-hf":
                ends = [place for place, other in enumerate(words) if place > i and other in ("&&", "|", ";")]
                yield words[i + 1 : min(ends, default=len(words))]


def options_of(verb: str) -> set[str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([verb, "--help", "all"]) == 0
    return {"--config", *re.findall(r"--[a-z_0-9]+", printed.getvalue())}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_runs_or_says_why_not(page):
    for block in blocks(page):
        if block.language in _CODE:
            assert ("run" in block.said) != ("not run" in block.said), f"{page}: {block.text}"
            assert block.said.get("not run", "so") != "", f"{page}: a block does not say why it is not run"
        else:
            assert block.language in ("text", "json", "yaml", "math"), f"{page}: {block.text}"


@pytest.mark.parametrize("page", PAGES)
def test_code_stands_in_fences(page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"\n\n( {4}\S.*)", text)
    assert not indented


@pytest.mark.parametrize("page", PAGES)
def test_json_and_yaml_can_be_read(page):
    for block in blocks(page):
        if block.language == "json":
            for record in re.split(r"\n(?=\{)", block.text.strip()):
                json.loads(record)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.fixture(scope="session")
def known_options() -> dict[str, set[str]]:
    asked = {words[0] for page in PAGES for block in blocks(page) for words in commands(block) if words}
    return {verb: options_of(verb) for verb in asked if verb in VERBS}


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_are_shown(page, known_options):
    for block in blocks(page):
        for verb, *words in filter(None, commands(block)):
            assert verb in VERBS or verb in ("VERB", "--help"), f"{page}: idl-hf {verb}"
            shown = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
            launch = {"--num_processes", "--mixed_precision"} if "--accelerate_config" in shown else set()
            unknown = shown - known_options.get(verb, set()) - launch
            assert not unknown, f"{page}: idl-hf {verb} has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", PAGES)
def test_scripts_and_configs_that_are_shown_are_there(page):
    for block in blocks(page):
        if block.language == "bash":
            for name in re.findall(r"\b((?:examples|benchmarks|utils|idl_hf)/[\w/]+\.(?:py|yaml))\b", block.text):
                assert (ROOT / name).is_file(), f"{page}: {name}"


@pytest.mark.docs
@pytest.mark.parametrize("page", [page for page in PAGES if any("run" in block.said for block in blocks(page))])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, sample_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PersonaChat, "from_pretrained", PersonaChat.from_pretrained)  # a page's block puts another
    if not any("file" in block.said for block in blocks(page)):  # else the page makes its own
        shutil.copytree(sample_data, tmp_path / "logs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names: dict = {}
    printed = ""
    for block in blocks(page):
        if "file" in block.said:
            Path(block.said["file"]).write_text(block.text, encoding="utf-8")
        if "before" in block.said:
            exec(block.said["before"], names)
        if "run" in block.said and block.language == "bash":
            done = subprocess.run(
                ["bash", "-euc", block.text],
                check=True,
                env={**os.environ, "PATH": path},
                stdout=subprocess.PIPE,
                text=True,
            )
            printed = done.stdout
        elif "run" in block.said:
            exec(compile(block.text, page, "exec"), names)
        if "prints" in block.said:  # the lines shown, with others left out where "..." stands
            for part in filter(None, re.split(r"^\.\.\.\n", block.text, flags=re.MULTILINE)):
                before, found, printed = printed.partition(part)
                assert found, f"{page} shows what is not printed: {part!r}, but after it {before!r}"


@pytest.mark.docs
def test_the_notebook_runs_from_top_to_bottom_and_ends_in_a_plot(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "Outputs are of one machine; commit none."
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    *_, chat, plot = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(output.get("text", "") for output in chat.outputs if output.get("name") == "stdout")
    assert said.count(" -> ") == 2
    assert any("image/png" in output.get("data", {}) for output in plot.outputs)
