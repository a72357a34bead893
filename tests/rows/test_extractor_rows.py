"""Rows by an LLM extractor: another extractor is another cache, and processes change nothing."""

import json
import os

import pytest
from datasets import load_dataset

from idl_hf.models import lines as line_generation
from idl_hf.persona import patterns
from idl_hf.persona.triples import format_sample


@pytest.fixture
def knows_the_rules(tiny_llama, tokenizer, tmp_path, monkeypatch):
    """Return a model that writes what the rules find, so that its rows must be theirs, and what it was asked."""
    for part in (tiny_llama(), tokenizer):
        part.save_pretrained(tmp_path / "model")
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    asked, parent = [], os.getpid()

    def generate(model, tokenizer, prompts, *_):
        assert os.getpid() == parent, "a worker asked the model"
        texts = [tokenizer.decode(prompt).partition("\n")[0] for prompt in prompts]
        asked.extend(texts)
        yield dict(enumerate(map(format_sample, ([found] for found in patterns.extract(texts)))))

    monkeypatch.setattr(line_generation, "generate_lines", generate)
    return str(tmp_path / "model"), asked


def rows(sample_data, config, **options):
    built = load_dataset("idl_hf/dialogues_idl", config, data_dir=str(sample_data), encoder="offline", **options)
    return built["train"]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["msl", "dpoc"])
def test_rows_are_those_of_the_rules_where_the_model_writes_what_these_find(knows_the_rules, sample_data, config):
    name, asked = knows_the_rules
    by_model = rows(sample_data, config, extractor=name)
    assert len(asked) == len(set(asked)) > 0
    assert "extractor='model'" in by_model.info.description  # its folder's name, and no path of this machine
    assert by_model[:] == rows(sample_data, config)[:]


@pytest.mark.slow
def test_all_utterances_are_extracted_before_processes_are_forked(knows_the_rules, sample_data):
    name, asked = knows_the_rules
    alone = rows(sample_data, "dpoc", extractor=name)
    count = len(asked)
    many = load_dataset(
        "idl_hf/dialogues_idl",
        "dpoc",
        data_dir=str(sample_data),
        encoder="offline",
        extractor=name,
        num_proc=2,
        download_mode="force_redownload",
    )["train"]
    assert many[:] == alone[:]
    assert len(asked) == count


def test_a_model_that_finds_nothing_makes_other_rows(knows_the_rules, sample_data, monkeypatch):
    name, _ = knows_the_rules
    rules = rows(sample_data, "msl")
    monkeypatch.setattr(
        line_generation, "generate_lines", lambda m, t, prompts, *_: [dict.fromkeys(range(len(prompts)), "<>")]
    )
    nothing = rows(sample_data, "msl", extractor=name)
    assert json.dumps(nothing["reference_ids"][:]) != json.dumps(rules["reference_ids"][:])
