"""Training of the persona extractor on a tiny model: what the loss sees, how samples are cut, what is refused."""

import json
from pathlib import Path

import pytest
from trl import ModelConfig, SFTConfig, TrlParser

from idl_hf.persona.extractor import PersonaExtractor
from idl_hf.persona.triples import format_prompt, format_sample, parse_sample
from idl_hf.schema import Triple
from idl_hf.training.extractor import ExtractorDataArguments, take_apart, train_extractor

ROOT = Path(__file__).parents[2]
SAMPLES = [
    (["i have two dogs .", "how are you ?"], [[Triple("i", "have_pet", "two dogs")], []]),
    (["i live in norway ."], [[Triple("i", "live_in_general", "norway")]]),
    (
        ["my wife loves opera and sushi", "hi", "i teach"],
        [[Triple("my wife", "like_music", "opera"), Triple("my wife", "like_food", "sushi")], [], []],
    ),
]


@pytest.fixture(scope="module")
def base(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"prompt": format_prompt(s), "completion": format_sample(t), "sentences": s, "more": 1} for s, t in SAMPLES
    ]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def train(folder, base, single_share=0.0, **changes):
    settings = {
        "output_dir": str(folder / "out"), "per_device_train_batch_size": 1, "max_steps": 2, "logging_steps": 1,
        "use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False, "disable_tqdm": True,
        "resume_from_checkpoint": "last", "eval_strategy": "steps", "eval_steps": 2,
    } | changes  # fmt: skip
    model = ModelConfig(model_name_or_path=base, use_peft=True, lora_r=4, lora_target_modules=["q_proj", "v_proj"])
    return train_extractor(
        ExtractorDataArguments(str(folder), single_share=single_share), SFTConfig(**settings), model
    )


def test_the_loss_sees_the_triples_and_their_end_only(folder, base, tokenizer):
    trainer = train(folder, base)
    for (sentences, triples), example in zip(SAMPLES, trainer.train_dataset, strict=True):
        batch = trainer.data_collator([example])
        ids, learnt = batch["input_ids"][0], batch["labels"][0] != -100
        assert tokenizer.decode(ids[~learnt]) == format_prompt(sentences)
        assert tokenizer.decode(ids[learnt]) == format_sample(triples) + tokenizer.eos_token


def test_a_trained_adapter_is_an_extractor_and_was_evaluated(folder, base, tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))
    trainer = train(folder, base)
    assert any("eval_loss" in entry for entry in trainer.state.log_history)
    assert "single_share" in (folder / "out" / "README.md").read_text()
    extractor = PersonaExtractor.from_pretrained(str(folder / "out"), show_progress=False)
    assert len(extractor.extract(["i have two dogs .", "hi"])) == 2
    assert extractor.generated_count == 2


def test_an_interrupted_training_goes_on_and_another_one_does_not(folder, base):
    train(folder, base, save_steps=1, max_steps=1)
    resumed = train(folder, base, save_steps=1, max_steps=2)
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2]
    with pytest.raises(ValueError, match="checkpoints of another run"):
        train(folder, base, single_share=1.0)


@pytest.mark.parametrize(("share", "samples"), [(0.0, 3), (1.0, 6)])
def test_samples_are_taken_apart_without_losing_a_triple(folder, share, samples):
    rows = take_apart(ExtractorDataArguments(str(folder)).load("train"), share)
    assert len(rows) == samples
    found = {}
    for row in rows:
        assert row["prompt"] == format_prompt(row["sentences"])
        triples = parse_sample(row["completion"], len(row["sentences"]))
        found |= zip(row["sentences"], triples, strict=True)
    assert found == {s: t for sentences, triples in SAMPLES for s, t in zip(sentences, triples, strict=True)}


def test_a_share_of_the_samples_is_drawn_by_the_seed(folder):
    rows = ExtractorDataArguments(str(folder)).load("train")
    cut = [take_apart(rows, 1 / 3, seed)["sentences"][:] for seed in range(8)]
    assert len({repr(sentences) for sentences in cut}) > 1
    assert take_apart(rows, 1 / 3, 5)["sentences"][:] == cut[5]


def test_settings_that_would_cut_the_triples_are_refused(folder, base):
    with pytest.raises(ValueError, match="max_length"):
        train(folder, base, max_length=64)


def test_data_that_is_not_there_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        ExtractorDataArguments(str(tmp_path)).load("train")
    (tmp_path / "train.jsonl").write_text('{"prompt": "hi"}\n')
    with pytest.raises(ValueError, match="lacks the columns completion, sentences"):
        ExtractorDataArguments(str(tmp_path)).load("train")
    with pytest.raises(ValueError, match="single_share"):
        ExtractorDataArguments(str(tmp_path), single_share=2)


@pytest.mark.parametrize("recipe", ["extractor_smollm2_cpu", "extractor_llama2_7b"])
def test_every_recipe_has_only_known_fields(recipe, tmp_path):
    file = ROOT / "examples" / "recipes" / f"{recipe}.yaml"
    types = (ExtractorDataArguments, SFTConfig, ModelConfig)
    arguments = ["--config", str(file), "--data_dir", "data", "--use_cpu", "true", "--output_dir", str(tmp_path)]
    data, args, model = TrlParser(types).parse_args_and_config(arguments)
    assert model.use_peft
    assert args.eval_strategy == "epoch"
    assert 0 <= data.single_share < 1
