"""Both stages on a tiny model and the sample data, through the functions that the examples call."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from datasets import Dataset
from transformers import GenerationConfig
from trl import ModelConfig, SFTConfig

from idl_hf import DPOCConfig, prompting
from idl_hf.contrast import ContrastConfig
from idl_hf.token_ids import end_ids
from idl_hf.training import stages
from idl_hf.training.data import DataArguments, fit_rows
from idl_hf.training.stages import MSLConfig, train_contrast, train_dpoc, train_msl
from idl_hf.training.strangers import gather_strangers, load_beside_strangers


@pytest.fixture(scope="module")
def base(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tiny_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(sample_data):
    return DataArguments(
        dataset_name="idl_hf/dialogues_idl",
        data_dir=str(sample_data),
        max_rows=8,
        dataset_options={"encoder": "offline"},
    )


def stage(folder, **changes):
    common = {
        "output_dir": str(folder), "per_device_train_batch_size": 1, "max_steps": 4, "save_steps": 2,
        "logging_steps": 1, "use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False,
        "learning_rate": 1e-3, "disable_tqdm": True, "resume_from_checkpoint": "last",
    }  # fmt: skip
    return common | changes


def model(name):
    return ModelConfig(model_name_or_path=name, use_peft=True, lora_r=4, lora_target_modules=["q_proj", "v_proj"])


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_both_stages_from_rows_to_an_adapter(base, data, tokenizer, tmp_path):
    msl = train_msl(data, SFTConfig(**stage(tmp_path / "msl")), model(base))
    assert msl.args.max_length is None
    assert {"adapter_model.safetensors", "tokenizer.json", "README.md"} <= files(tmp_path / "msl")
    dpoc = train_dpoc(data, DPOCConfig(**stage(tmp_path / "dpoc")), model(str(tmp_path / "msl")))
    assert "ref" in dpoc.model.peft_config
    assert dpoc.state.log_history[0]["rewards/criterion"] == 0.0
    assert "adapter_model.safetensors" in files(tmp_path / "dpoc")
    assert not [name for name in files(tmp_path / "dpoc") if "ref/" in name]
    assert "2403.03102" in (tmp_path / "dpoc" / "README.md").read_text()
    for name in ("msl", "dpoc"):  # whatever else generates with it stops where replies end
        saved = GenerationConfig.from_pretrained(tmp_path / name)
        assert saved.eos_token_id == end_ids(tokenizer, GenerationConfig.from_pretrained(base))


def test_the_loss_sees_the_persons_replies_only(base, data, tokenizer, tmp_path):
    data.dataset_options |= {"reply": "all", "targets": "all"}
    trainer = train_msl(data, SFTConfig(**stage(tmp_path, max_steps=1)), model(base))
    raw = data.load("msl", "train")
    for row, example in zip(raw, trainer.train_dataset, strict=True):
        batch = trainer.data_collator([example])
        learnt = tokenizer.decode(batch["input_ids"][0][batch["labels"][0] != -100])
        replies = [message["content"] for message in row["completion"] if message["role"] == "assistant"]
        assert learnt == "".join(reply + tokenizer.eos_token for reply in replies)


def test_a_second_run_resumes_and_ends_the_same(base, data, tmp_path):
    train_msl(data, SFTConfig(**stage(tmp_path / "b", max_steps=2, lr_scheduler_type="constant")), model(base))
    whole = train_msl(data, SFTConfig(**stage(tmp_path / "a2", lr_scheduler_type="constant")), model(base))
    (tmp_path / "b" / "checkpoint-3").mkdir()  # was being written when the run broke off: it has no state yet
    resumed = train_msl(data, SFTConfig(**stage(tmp_path / "b", lr_scheduler_type="constant")), model(base))
    assert [e["step"] for e in resumed.state.log_history] == [e["step"] for e in whole.state.log_history]
    assert resumed.state.log_history[3]["loss"] == pytest.approx(whole.state.log_history[3]["loss"], rel=1e-6)


def test_checkpoints_of_another_run_are_not_continued_and_the_difference_is_told(base, data, tmp_path):
    train_msl(data, SFTConfig(**stage(tmp_path, max_steps=2)), model(base))

    def refused(what, model_args=None, **changes):
        with pytest.raises(ValueError, match=f"checkpoints of another run: {what}"):
            train_msl(data, SFTConfig(**stage(tmp_path, max_steps=2, **changes)), model_args or model(base))

    refused(r"weight_decay was 0\.0 and is 0\.1\. Pass", weight_decay=0.1)
    model_args = model(base)
    model_args.lora_dropout = 0.0
    refused(r"adapter.lora_dropout was 0\.05 and is 0\.0, lora_dropout was", model_args)
    data.max_rows = 6
    refused("rows.input_ids was '[0-9a-f]+' and is '[0-9a-f]+', rows.labels was ")
    over = train_msl(data, SFTConfig(**stage(tmp_path, max_steps=1, resume_from_checkpoint="never")), model(base))
    assert over.state.global_step == 1
    resumed = train_msl(data, SFTConfig(**stage(tmp_path, max_steps=3)), model(base))
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3]
    named = stage(tmp_path, max_steps=4, weight_decay=0.1, resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert train_msl(data, SFTConfig(**named), model(base)).state.global_step == 4


@pytest.mark.parametrize(
    ("length", "end"),
    [
        ({"max_steps": 3}, 3),
        ({"max_steps": -1, "num_train_epochs": 0.5}, 4),
        ({"max_steps": -1, "num_train_epochs": 1.5, "gradient_accumulation_steps": 3}, 5),
        ({"max_steps": -1, "num_train_epochs": 1, "gradient_accumulation_steps": 3}, 3),
    ],
)
def test_a_run_that_is_at_its_end_is_left_as_it_is(length, end, base, data, tmp_path):
    given = stage(tmp_path, save_steps=1, **length)
    whole = train_msl(data, SFTConfig(**given), model(base))
    weights = (tmp_path / "adapter_model.safetensors").read_bytes()
    for _ in range(2):
        again = train_msl(data, SFTConfig(**given), model(base))
        assert again.state.global_step == whole.state.global_step == end
        assert (tmp_path / "adapter_model.safetensors").read_bytes() == weights
    assert not (tmp_path / f"checkpoint-{end + 1}").exists()


def test_the_end_of_a_run_is_its_best_checkpoint_where_that_is_asked_for(base, data, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 1}
    data.eval_split, worse = "validation", {"learning_rate": 3.0, "save_steps": 1, "max_steps": 3}
    whole = train_msl(data, MSLConfig(**stage(tmp_path, **best, **worse)), model(base))
    assert whole.state.best_model_checkpoint != str(tmp_path / "checkpoint-3")
    weights = (tmp_path / "adapter_model.safetensors").read_bytes()
    train_msl(data, MSLConfig(**stage(tmp_path, **best, **worse)), model(base))
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("shorter", [{"max_steps": 2}, {"max_steps": -1, "num_train_epochs": 1}])
def test_a_checkpoint_of_a_longer_run_is_not_the_result_of_a_shorter_one(shorter, base, data, tmp_path):
    epochs = {"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 4}
    train_msl(data, SFTConfig(**stage(tmp_path, **epochs)), model(base))
    assert (tmp_path / "checkpoint-4").is_dir()
    train_msl(data, SFTConfig(**stage(tmp_path, **epochs)), model(base))  # at its end
    with pytest.raises(ValueError, match=r"is of a longer run: it has taken 4 steps, and 2 are asked"):
        train_msl(data, SFTConfig(**stage(tmp_path, **{**epochs, **shorter})), model(base))


def test_generation_settings_that_could_not_be_saved_do_not_end_a_training(tiny_llama, tokenizer, data, tmp_path):
    made = tiny_llama()
    made.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "generation_config.json").read_text())
    config |= {"temperature": 0.9, "top_p": 0.6}  # as Vicuna has them, and do_sample not
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps(config))
    train_msl(data, SFTConfig(**stage(tmp_path / "msl", max_steps=1)), model(str(tmp_path / "base")))
    assert {"generation_config.json", "idl_config.json", "README.md"} <= files(tmp_path / "msl")
    saved = GenerationConfig.from_pretrained(tmp_path / "msl")
    assert saved.eos_token_id == end_ids(tokenizer, saved)


def test_a_whole_model_of_a_revision_is_its_own_reference(base, data, tmp_path, monkeypatch):
    loaded = []
    load = stages.load_model
    monkeypatch.setattr(
        stages, "load_model", lambda *args, **options: loaded.append(options) or load(*args, **options)
    )
    whole = ModelConfig(model_name_or_path=base, model_revision="v1")
    train_dpoc(data, DPOCConfig(**stage(tmp_path, max_steps=1)), whole)
    assert [options["revision"] for options in loaded] == ["v1", "v1"]


def test_sizes_that_an_adapter_does_not_have_are_told(base, data, tmp_path, caplog):
    train_msl(data, SFTConfig(**stage(tmp_path / "msl", max_steps=1)), model(base))
    assert "goes on training as it is" not in caplog.text
    other = ModelConfig(model_name_or_path=str(tmp_path / "msl"), use_peft=True, lora_r=64)
    train_dpoc(data, DPOCConfig(**stage(tmp_path / "dpoc", max_steps=1)), other)
    assert "goes on training as it is, with r 4 and not 64" in caplog.text


def test_what_a_folder_of_a_model_holds_besides_is_not_the_model(tiny_llama, tokenizer, data, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    inside = stage(tmp_path / "msl", max_steps=2, save_steps=1)
    train_msl(data, SFTConfig(**inside), model(str(tmp_path)))
    (tmp_path / "README.md").write_text("A card, written later.")
    resumed = train_msl(data, SFTConfig(**{**inside, "max_steps": 3}), model(str(tmp_path)))
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3]


@pytest.mark.parametrize("name", ["max_prompt_tokens", "max_rows"])
def test_counts_of_less_than_one_are_refused(name):
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"--{name} must be 1 or more, found {count}"):
            DataArguments(**{name: count})


def test_an_adapter_of_the_offline_model_names_it_so_and_no_path(base, data, tokenizer, tmp_path, monkeypatch):
    from idl_hf.models.loading import load_model

    monkeypatch.setattr("idl_hf.training.run.offline_folder", lambda: base)  # for the real one, which is large
    train_msl(data, SFTConfig(**stage(tmp_path, max_steps=2)), model(base))
    for folder in (tmp_path, tmp_path / "checkpoint-2"):
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "offline"
    monkeypatch.setattr("idl_hf.models.loading.resolve_model", lambda name: base if name == "offline" else name)
    loaded, _ = load_model(str(tmp_path))
    assert loaded.peft_config["default"].r == 4
    train_dpoc(data, DPOCConfig(**stage(tmp_path / "dpoc", max_steps=1)), model(str(tmp_path)))
    assert json.loads((tmp_path / "dpoc" / "adapter_config.json").read_text())["base_model_name_or_path"] == "offline"


def test_settings_that_would_do_nothing_are_refused(base, data, tmp_path):
    with pytest.raises(ValueError, match="max_length"):
        train_msl(data, SFTConfig(**stage(tmp_path, max_length=77)), model(base))


def test_a_split_without_rows_says_why(sample_data, tmp_path):
    line = (sample_data / "train.jsonl").read_text().splitlines()[0]
    (tmp_path / "train.jsonl").write_text(line)
    data = DataArguments("idl_hf/dialogues_idl", str(tmp_path), {"encoder": "offline"})
    with pytest.raises(ValueError, match="at least two dialogues"):
        data.load("msl", "train")


@pytest.mark.parametrize("options", ["{targets: all}", "[1]"])
def test_options_that_are_no_json_object_are_named(options):
    with pytest.raises(ValueError, match="--dataset_options must be a JSON object"):
        DataArguments(dataset_options=options)


def test_long_prompts_lose_whole_references_and_the_loss_is_counted(data, tokenizer):
    rows = data.load("msl", "train")
    fitted = fit_rows(rows, tokenizer, 600)
    count = prompting.token_counter(tokenizer)
    assert sum(fitted["dropped_references"]) > 0
    for before, after in zip(rows, fitted, strict=True):
        kept = prompting.drop_references(before["prompt"], before["dialogue_starts"], after["dropped_references"])
        assert after["prompt"] == kept
        assert count(after["prompt"]) <= 600


def by_dialogue(rows):
    dialogues = {}
    for row in rows:
        dialogues.setdefault((row["person_id"], row["dialogue_id"]), []).append(row)
    return list(dialogues.values())


@pytest.mark.parametrize("budget", [512, 1000, 2000])
@pytest.mark.parametrize("references", [0, 1])
@pytest.mark.parametrize("long", ["prompt", "completion"])
def test_a_dialogue_that_the_model_has_no_positions_for_is_refused(long, references, budget, tokenizer):
    past = [{"role": "user", "content": "any plans ?"}, {"role": "assistant", "content": "none"}] * references
    rows = Dataset.from_list([{
        "person_id": "ruth", "dialogue_id": "1",
        "prompt": [*past, {"role": "user", "content": "goats " * (3000 if long == "prompt" else 1)}],
        "dialogue_starts": [{"message": 2 * place, "char": 0} for place in range(references + 1)],
        "completion": [{"role": "assistant", "content": "aye " * (3000 if long == "completion" else 1)}],
    }])  # fmt: skip
    with pytest.raises(ValueError, match=r"takes \d+ tokens without any reference, and the model has 2048"):
        fit_rows(rows, tokenizer, budget, 2048)
    assert len(fit_rows(rows, tokenizer, budget, 100_000)) == 1


def test_rows_that_do_not_tell_of_dialogues_stay_as_they_are_and_that_is_told(tokenizer, caplog):
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "hi"}], "completion": []}])
    assert fit_rows(rows, tokenizer, 512) is rows
    assert "a column dialogue_starts" in caplog.text


def test_the_prompts_of_a_dialogue_lose_the_same_references(data, tokenizer, caplog):
    rows = replace(data, max_rows=60).load("dpoc", "train")
    alone, together = fit_rows(rows, tokenizer, 600), fit_rows(rows, tokenizer, 600, per_dialogue=True)
    dropped = [[row["dropped_references"] for row in dialogue] for dialogue in by_dialogue(alone)]
    assert any(len(set(counts)) > 1 for counts in dropped)
    fitted = [[row["dropped_references"] for row in dialogue] for dialogue in by_dialogue(together)]
    assert fitted == [[max(counts)] * len(counts) for counts in dropped]
    for dialogue in by_dialogue(together):
        for before, after in pairwise(dialogue):
            assert after["prompt"][: len(before["prompt"])] == before["prompt"]
    assert f"({sum(map(sum, dropped))} if each were fitted for itself)" in caplog.text


def test_max_rows_draws_whole_dialogues(data):
    rows = replace(data, max_rows=None).load("dpoc", "train")
    drawn = by_dialogue(replace(data, max_rows=20).load("dpoc", "train"))
    whole = by_dialogue(rows)
    assert all(dialogue in whole for dialogue in drawn)
    assert 20 - max(map(len, whole)) < sum(map(len, drawn)) <= 20
    assert drawn != whole[: len(drawn)], "at random"
    assert len(by_dialogue(replace(data, max_rows=1).load("dpoc", "train"))) == 1
    assert len(replace(data, max_rows=5).load("msl", "train")) == 5


def test_budgets_are_per_row_or_dialogue():
    with pytest.raises(ValueError, match="auto, row, dialogue"):
        DataArguments(budget_per="dialog")


def test_a_model_must_be_named(data, tmp_path):
    with pytest.raises(ValueError, match="model_name_or_path"):
        train_msl(data, SFTConfig(**stage(tmp_path)), ModelConfig())


def test_the_contrast_goes_on_from_an_adapter_and_writes_one(base, data, tokenizer, tmp_path):
    data.dataset_options |= {"targets": "all", "reply": "all"}
    data.max_rows, data.max_prompt_tokens, data.eval_split = 3, 700, "validation"
    train_msl(data, SFTConfig(**stage(tmp_path / "msl", max_steps=1)), model(base))
    folder, start = tmp_path / "contrast", model(str(tmp_path / "msl"))
    settings = {"eval_strategy": "steps", "eval_steps": 2, "contrast_temperature": 0.2, "max_steps": 2}
    trainer = train_contrast(data, ContrastConfig(**stage(folder, **settings)), start)
    rows, shown = load_beside_strangers(data, "train"), []
    for per_dialogue in (True, False):
        fitted = gather_strangers(fit_rows(rows, tokenizer, 700, per_dialogue=per_dialogue))
        prompts = [row["strangers"] for row in fitted]
        shown.append([[prompting.prompt_ids(tokenizer, prompt) for prompt in strangers] for strangers in prompts])
    assert [row["strangers"] for row in trainer.train_dataset] == shown[0] != shown[1]
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    evaluated = next(entry for entry in trainer.state.log_history if "eval_loss" in entry)
    assert [entry["step"] for entry in steps] == [1, 2]
    for told in ("nll", "nll_strangers", "contrast", "identified"):
        assert all(told in entry for entry in steps)
        assert f"eval_{told}" in evaluated
    assert {"adapter_model.safetensors", "idl_config.json"} <= files(folder)
    card = (folder / "README.md").read_text()
    assert "contrast_temperature: 0.2" in card
    assert "contrast" in card.split("---")[1]  # among the tags
    with pytest.raises(ValueError, match=r"checkpoints of another run: contrast_weight was 1\.0 and is 2\.0"):
        train_contrast(data, ContrastConfig(**stage(folder, **settings, contrast_weight=2.0)), start)


def test_the_prompts_of_a_dialogue_lose_as_many_references_and_are_those_of_strangers_rows(data, tokenizer):
    data.dataset_options |= {"targets": "all", "reply": "all"}
    rows = load_beside_strangers(data, "train[:20]")
    own = len(data.load("msl", "train[:20]"))
    assert own == 8  # max_rows
    assert len(rows) > 4 * own
    gathered = gather_strangers(rows)
    strangers = replace(data, dataset_options={**data.dataset_options, "conditioning": "strangers"}, max_rows=None)
    of_dialogue = {}
    for row in strangers.load("msl", "train"):
        of_dialogue.setdefault((row["person_id"], row["dialogue_id"]), []).append(row["prompt"])
    assert len(gathered) == own
    for row, expected in zip(gathered, data.load("msl", "train[:20]"), strict=True):
        assert row["prompt"] == expected["prompt"]
        assert row["strangers"] == of_dialogue[row["person_id"], row["dialogue_id"]]
        assert row["prompt"] not in row["strangers"]
    for row in gather_strangers(fit_rows(rows, tokenizer, 700, per_dialogue=True)):
        lengths = [len(prompting.prompt_ids(tokenizer, prompt)) for prompt in (row["prompt"], *row["strangers"])]
        assert max(lengths) <= 700
        assert row["dropped_references"] > 0


def test_a_contrast_without_references_of_the_person_or_of_prompts_cut_each_for_itself_is_refused(
    base, data, tmp_path
):
    for options in ({"conditioning": "none"}, {"conditioning": "strangers"}, {"references": 0}):
        asked = replace(data, dataset_options={**data.dataset_options, **options})
        with pytest.raises(ValueError, match="these rows show none of the person"):
            load_beside_strangers(asked, "train")
    data.budget_per = "row"
    with pytest.raises(ValueError, match="budget_per='row'"):
        train_contrast(data, ContrastConfig(**stage(tmp_path)), model(base))
    with pytest.raises(ValueError, match="no row with a stranger"):
        gather_strangers(data.load("msl", "train"))
