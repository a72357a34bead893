"""`idl-hf export`: a folder is written whole or not at all, with the person's prompt where one is asked for."""

import json
import shutil
import stat
import sys

import pytest

from idl_hf import PersonaChat, prompting
from idl_hf.chat.terminal import find_person
from idl_hf.cli import main
from idl_hf.export.gguf import NAME
from idl_hf.models.identity import save_recipe
from tests.export.ollama_parser import commands


@pytest.fixture
def adapter(make_adapter):
    folder = make_adapter(target_modules=["q_proj"])
    save_recipe(folder, {"encoder": "offline", "references": 3}, 400)
    return folder


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a program of the converter's name, the only one on PATH: program(what it does, in Python)."""

    def make(code: str):
        (tmp_path / "bin").mkdir()
        file = tmp_path / "bin" / NAME
        file.write_text(f"#!/usr/bin/env python3\nimport sys\n{code}\n")
        file.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return make


def run(adapter, *words) -> int:
    return main(["export", "--adapter", str(adapter), "--output_dir", str(adapter.parent / "out"), *words])


def left(adapter) -> set[str]:
    return {file.name for file in adapter.parent.iterdir()} - {"adapter", "base", "bin"}


def test_a_person_is_written_as_prompt_and_modelfile(adapter, sample_data, capsys):
    assert run(adapter, "--merged", "--data_dir", str(sample_data), "--person", "ruth") == 0
    folder = adapter.parent / "out"
    assert "they are as private as the dialogues. With Ollama:" in capsys.readouterr().out
    written = json.loads((folder / "persona_prompt.json").read_text(encoding="utf-8"))
    person = find_person(sample_data, "ruth")
    opening = PersonaChat.from_pretrained(str(adapter)).with_person(person).opening()
    assert written["messages"] == opening.messages
    assert written["dialogue_ids"] == [reference.dialogue_id for reference in opening.references] != []
    assert written["dropped_references"] == 3 - len(written["dialogue_ids"])
    found = commands((folder / "Modelfile").read_text(encoding="utf-8"))
    assert found[0] == ("from", ".")
    said = [value for name, value in found if name == "message"]
    assert said == [f"{message['role']}: {message['content']}" for message in opening.messages]
    assert dict(found)["temperature"] == "0.7"  # as in the terminal, where the adapter says nothing
    for name in ("persona_prompt.json", "Modelfile"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    again = PersonaChat.from_pretrained(str(folder)).with_person(person)
    tokens = prompting.prompt_ids(again._model.tokenizer, [*opening.messages, {"role": "user", "content": "hello"}])
    assert len(tokens) <= 400
    assert left(adapter) == {"out"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Pass either --merged (a plain model folder"),
        (["--merged", "--gguf"], "Pass either --merged"),
        (["--merged", "--person", "ruth"], "are of --data_dir, the person's past dialogues"),
        (["--merged", "--dtype", "int4"], "--dtype: invalid choice: 'int4'"),
        (["--merged", "--data_dir", "{sample_data}", "--person", "rut"], "has no person 'rut'. Its persons are: "),
        (["--merged", "--data_dir", "{sample_data}"], "holds several persons; name one with --person"),
        (["--merged", "--adapter", "{base}"], "is a model and no adapter, so there is nothing to merge"),
        (["--gguf"], f"--gguf needs {NAME} of llama.cpp on PATH, and it is not there"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence_and_leaves_nothing(
    adapter, program, sample_data, words, message, capsys
):
    words = [word.format(sample_data=sample_data, base=adapter.parent / "base") for word in words]
    assert run(adapter, *words) == 1
    assert message in capsys.readouterr().err
    assert left(adapter) == set()


def test_a_folder_that_holds_something_is_left_as_it_is(adapter, capsys):
    folder = adapter.parent / "out"
    folder.mkdir()
    (folder / "mine").write_text("of value")
    assert run(adapter, "--merged") == 1
    assert "is there already and is left as it is" in capsys.readouterr().err
    assert [file.name for file in folder.iterdir()] == ["mine"]
    (folder / "mine").unlink()
    assert run(adapter, "--merged") == 0  # an empty one is no loss
    assert (folder / "model.safetensors").is_file()
    assert "It holds nobody's past dialogues" in capsys.readouterr().out


@pytest.mark.parametrize(
    "code",
    ["sys.exit('Model FooForCausalLM is not supported')", "print('Model FooForCausalLM is not supported')"],
    ids=["a status", "no file"],
)
def test_a_converter_that_writes_nothing_is_quoted_and_leaves_nothing(adapter, program, capsys, code):
    program(code)
    assert run(adapter, "--gguf") == 1
    error = capsys.readouterr().err
    assert "wrote no GGUF file" in error
    assert "Model FooForCausalLM is not supported" in error
    assert left(adapter) == set()


def test_a_converter_is_given_the_merged_folder(adapter, program, sample_data):
    """What it writes is a file that says so, made by the library that llama.cpp's own converter writes with."""
    gguf = pytest.importorskip("gguf", reason="`pip install gguf` to write such a file.")
    code = (
        f"sys.path[:0] = {sys.path!r}\nfrom pathlib import Path\nimport gguf, json\n"
        "folder, option, file = sys.argv[1:]\nassert option == '--outfile'\n"
        "names = sorted(path.name for path in Path(folder).iterdir())\n"
        "writer = gguf.GGUFWriter(file, 'llama')\nwriter.add_description(json.dumps(names))\n"
        "writer.write_header_to_file()\nwriter.write_kv_data_to_file()\nwriter.close()"
    )
    program(code)
    assert run(adapter, "--gguf", "--data_dir", str(sample_data), "--person", "ruth") == 0
    folder = adapter.parent / "out"
    assert {file.name for file in folder.iterdir()} == {"README.md", "Modelfile", "model.gguf", "persona_prompt.json"}
    field = gguf.GGUFReader(folder / "model.gguf").fields["general.description"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(json.loads(field.contents()))
    assert commands((folder / "Modelfile").read_text(encoding="utf-8"))[0] == ("from", "./model.gguf")


@pytest.mark.slow
def test_llama_cpps_own_converter(adapter):
    if shutil.which(NAME) is None:
        pytest.skip(f"{NAME} of llama.cpp is not on PATH.")
    gguf = pytest.importorskip("gguf", reason="The converter needs it.")
    pytest.importorskip("sentencepiece", reason="The converter needs it.")
    assert run(adapter, "--gguf") == 0
    reader = gguf.GGUFReader(adapter.parent / "out" / "model.gguf")
    assert reader.fields["general.architecture"].contents() == "llama"
    assert {"token_embd.weight", "blk.0.attn_q.weight"} <= {tensor.name for tensor in reader.tensors}
    assert "<|im_start|>" in reader.fields["tokenizer.chat_template"].contents()
