"""From rows to lines of a table: each system is trained by the Trainer, saved, loaded and measured as a model is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from idl_hf.baselines.inputs import Exchange, Known, known_of
from idl_hf.baselines.refiner import Refiner
from idl_hf.baselines.responder import BaselineResponder
from idl_hf.baselines.systems import SYSTEMS, is_baseline, load_baseline, load_people
from idl_hf.baselines.train import BaselineArguments, _model, examples_of, with_denials
from idl_hf.cli import main
from idl_hf.evaluation.conditions import CONDITIONS
from idl_hf.models.responder import Sampling
from idl_hf.training.data import DataArguments

NETWORK = {"hidden": 16, "heads": 2, "layers": 1, "sizes": {"exchanges": 4, "line": 8, "context": 24, "reply": 16}}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.fixture(scope="module")
def measured(tiny_llama, tokenizer, tmp_path_factory):
    """The report of an experiment with all systems, and the folder of what was trained."""
    folder = tmp_path_factory.mktemp("systems")
    tiny_llama(seed=1, tie_word_embeddings=False).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    training = {"network": NETWORK, "max_steps": 4, "learning_rate": 1e-3}
    content = {
        "title": "Other systems",
        "about": "A trial.",
        "trained_on": "convai2_idl",
        "tests": ["convai2_idl"],
        "columns": ["nll", "gain", "bleu_1", "p_f1"],
        "conditions": [{"condition": name, "training": training} for name in SYSTEMS],
    }
    file = folder / "systems.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    where = ["--output_dir", str(folder / "out"), "--runs_dir", str(folder / "runs")]
    model = ["--model_name_or_path", str(folder / "model")]
    assert main(["evaluate", "--experiment", str(file), "--quick", *model, *where]) == 0
    (report,) = folder.glob("out/*/report.json")
    return json.loads(report.read_text(encoding="utf-8")), folder / "runs" / "adapters"


def test_each_system_is_a_condition_and_a_line_with_likelihoods_and_replies(measured):
    report, _ = measured
    lines = {line["name"]: line["values"] for line in report["tables"][0]["lines"]}
    assert list(lines) == [CONDITIONS[name].name for name in SYSTEMS]
    for name, values in lines.items():
        assert {"nll", "bleu_1"} <= values.keys()
        assert ("gain" in values) == (name in ("DHAP", "MSP"))  # the others are shown no past dialogue
        assert all(0 < nll < 20 for nll in values["nll"].values())


def test_what_was_trained_is_a_folder_that_replies(measured, tokenizer):
    _, folders = measured
    kinds = sorted(folder.name.partition("-")[0] for folder in folders.iterdir())
    assert kinds == sorted(SYSTEMS)
    prompt = [{"role": "user", "content": "hi <|im_end|> what do you do?"}]
    for folder in folders.iterdir():
        assert is_baseline(str(folder))
        responder = BaselineResponder.from_pretrained(str(folder))
        ((place, text),) = responder.replies([prompt], Sampling(4))
        assert (place, type(text)) == (0, str)
        said = [
            {"role": "assistant", "content": "i sing ."},
            *prompt,
            {"role": "assistant", "content": "and i cook ."},
        ]
        found = responder.logprobs(prompt, said)
        assert found.shape == (len(tokenizer("i sing .and i cook .")["input_ids"]) + 2,)
        assert np.isfinite(found).all()
        assert found[:3] == pytest.approx(responder.logprobs(prompt, said[:1])[:3], abs=1e-4)
        with pytest.raises(ValueError, match="These systems reply greedily"):
            next(responder.replies([prompt], Sampling(4, {"do_sample": True})))


def test_msp_remembers_the_people_it_was_trained_on_and_nobody_else(measured, sample_data):
    _, folders = measured
    for folder in folders.iterdir():
        people = load_people(folder)
        assert bool(people) == folder.name.startswith("msp")
    (folder,) = folders.glob("msp-*")
    trained_on = {line["person_id"] for line in map(json.loads, (sample_data / "train.jsonl").open(encoding="utf-8"))}
    assert load_people(folder).keys() <= trained_on


def test_another_folder_is_no_system(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert not is_baseline(str(tmp_path))
    with pytest.raises(ValueError, match=r"holds none of frequency, percvae, bob, dhap, msp, clv"):
        load_baseline(str(tmp_path))
    with pytest.raises(ValueError, match=r"system='gpt' is unknown\. The systems are: frequency, "):
        BaselineArguments(output_dir=str(tmp_path), system="gpt")


def test_a_prompt_is_profile_past_and_turns():
    prompt = [
        {"role": "system", "content": "a profile"},
        *({"role": role, "content": text} for role, text in zip(["user", "assistant"] * 3, "abcdef", strict=True)),
        {"role": "user", "content": "g"},
    ]
    past = [Exchange("a", "b"), Exchange("c", "d"), Exchange("e", "f")]
    assert known_of(prompt) == Known("a profile", past, list("abcdefg"))
    assert known_of(prompt[-1:]) == Known("", [], ["g"])


def test_each_reply_of_a_row_is_an_example():
    says = [
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"},
        {"role": "assistant", "content": "z"},
    ]
    asked = [{"role": "user", "content": "w"}]
    msl = {"person_id": "ann", "prompt": asked, "completion": says}
    first, second = examples_of([msl])
    assert (first.reply, first.known.turns, second.reply, second.known.turns) == ("x", ["w"], "z", ["w", "x", "y"])
    assert second.known.past == [Exchange("w", "x")]


def test_what_denies_a_profile_stands_beside_the_reply_that_it_takes_the_place_of(sample_data):
    options = {"encoder": "offline", "conditioning": "profile", "targets": "all", "reply": "all"}
    data = DataArguments("idl_hf/dialogues_idl", str(sample_data), options, max_rows=20)
    examples = list(examples_of(data.load("msl", "train")))
    found = with_denials(examples, data)
    assert [replace(example, denial="") for example in found] == examples
    denied = [example for example in found if example.denial]
    assert len(denied) > 2  # most replies state nothing that could be denied
    for example in denied:
        kept = set(example.reply.split()) & set(example.denial.split())
        assert example.denial != example.reply
        assert kept  # it is the reply, but for what it states


def test_the_refiners_take_people_alike_and_posts_near_by():
    vectors = {"pets ?": [1, 0, 0], "dogs": [1, 0, 0], "cats": [0.9, 0.1, 0], "job ?": [0, 1, 0], "cook": [0, 1, 0]}
    people = {
        "ann": [Exchange("pets ?", "dogs"), Exchange("job ?", "cook")],
        "bob": [Exchange("job ?", "cook")],
        "cy": [],
    }
    refiner = Refiner(people, lambda texts: np.array([vectors[text] for text in texts]), lines=3, similar=1)
    cats, cook = Exchange("pets ?", "cats"), Exchange("job ?", "cook")
    found = refiner.refine(Known("a profile", [cats], ["pets ?"]))
    assert found == Known("a profile", [Exchange("pets ?", "dogs"), cats], ["pets ?"])
    assert refiner.refine(Known("", [cats], ["pets ?"]), "ann").past == [cook, cats]  # of bob, since ann is the person
    both = refiner.refine(Known("", [cats, cook, cook], ["pets ?"])).past
    assert both == [cook, cook, cats]  # of bob, who talks most alike, then the person's own, the nearest post last
    assert refiner.refine(Known("", [], ["pets ?"])).past == []


@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("length", [{"num_train_epochs": 2}, {"max_steps": 25}])
def test_a_ramp_is_a_fifth_of_the_batches_however_many_make_a_step(accumulated, length, tokenizer, tmp_path):
    steps = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": accumulated, **length}
    args = BaselineArguments(output_dir=str(tmp_path), system="clv", network=NETWORK, use_cpu=True, **steps)
    batches = 25 * accumulated if "max_steps" in length else 200 * 2 // 4
    assert _model(args, tokenizer, 200).config.ramp_steps == batches // 5


@pytest.mark.parametrize("name", ["percvae", "clv", "msp", "bob"])
def test_a_system_begins_with_the_weights_of_its_backbone(name, tokenizer, tmp_path):
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    gpt2 = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)
    made = BertModel(BertConfig(**sizes)) if name == "bob" else GPT2Model(gpt2)
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    args = BaselineArguments(output_dir=str(tmp_path / "out"), system=name, backbone=str(tmp_path))
    model = _model(args, tokenizer, 8)
    assert model.config.hidden == 16
    for stack in model.stacks:
        found = getattr(model, stack).state_dict()
        for key, weight in made.state_dict().items():
            if key in found and "pooler" not in key:
                assert torch.equal(found[key], weight), key
    with pytest.raises(ValueError, match="'dhap' begins with no other model's weights"):
        BaselineArguments(output_dir=str(tmp_path / "out"), system="dhap", backbone=str(tmp_path))
