"""A run is itself: whatever is changed of it is noticed, by name, or stands in the list of what is harmless."""

import json
from copy import deepcopy
from dataclasses import fields

import pytest
from datasets import Dataset
from peft import LoraConfig
from trl import ModelConfig, SFTConfig

from idl_hf.dpoc.config import DPOCConfig
from idl_hf.training.record import HARMLESS, RunRecord, last_checkpoint, settings_of_a_run

ROWS = {"input_ids": [[1, 2, 3], [4, 5]], "completion_mask": [[0, 0, 1], [0, 1]], "person_id": ["kit", "leroy"]}
DECIDE = {  # what an earlier list of what counts had left out, and what it held
    "learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "optim", "adam_beta2", "max_grad_norm",
    "seed", "data_seed", "per_device_train_batch_size", "gradient_accumulation_steps", "bf16", "fp16", "loss_type",
    "packing", "completion_only_loss", "neftune_noise_alpha", "dtype", "model_revision", "lora_r", "lora_dropout",
    "use_rslora", "use_dora", "lora_modules_to_save", "lora_target_modules", "beta", "penalty", "penalty_form",
    "save_only_model", "load_best_model_at_end", "dataloader_drop_last", "dataloader_in_order", "disable_dropout",
    "attn_implementation",
}  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run"))
    return {
        "msl": SFTConfig(folder, use_cpu=True, bf16=False),
        "dpoc": DPOCConfig(folder, use_cpu=True, bf16=False),
        "model": ModelConfig("base", use_peft=True),
        "adapter": LoraConfig(target_modules=["v_proj", "q_proj"], base_model_name_or_path="base"),
    }


def settings(given, stage="msl", rows=ROWS, weights="a", **changed):
    parts = given | changed
    others = {"weights": weights}
    return settings_of_a_run(parts[stage], parts["model"], parts["adapter"], Dataset.from_dict(rows), others)


def other(value):
    """Return another value, of the same type where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, set):
        return {*value, "another"}
    return f"{value} changed"


def all_fields():
    kinds = {"msl": SFTConfig, "dpoc": DPOCConfig, "model": ModelConfig, "adapter": LoraConfig}
    return [(part, field.name) for part, kind in kinds.items() for field in fields(kind) if field.init]


def test_every_field_is_noticed_when_it_changes_or_is_harmless(given):
    before = {stage: settings(given, stage) for stage in ("msl", "dpoc")}
    for part, name in all_fields():
        stage = part if part == "dpoc" else "msl"
        changed = deepcopy(given[part])
        setattr(changed, name, other(getattr(changed, name)))
        shown = f"adapter.{name}" if part == "adapter" else name
        now = settings(given, stage, **{part: changed})
        noticed = {key for key in before[stage].keys() | now.keys() if before[stage].get(key) != now.get(key)}
        assert noticed == (set() if shown in HARMLESS else {shown}), shown


def test_the_list_of_what_is_harmless_names_fields_and_none_that_decides():
    names = {f"adapter.{name}" if part == "adapter" else name for part, name in all_fields()}
    later = {"activation_checkpointing", "activation_checkpointing_kwargs"}  # which transformers has since 5.23
    assert names >= (HARMLESS | DECIDE) - later
    assert not HARMLESS & DECIDE


@pytest.mark.parametrize("column", ROWS)
def test_every_column_of_the_rows_counts_and_so_does_their_order(given, column):
    changed = deepcopy(ROWS)
    changed[column] = changed[column][::-1]
    before, now = settings(given), settings(given, rows=changed)
    assert [name for name in now if now[name] != before[name]] == [f"rows.{column}"]
    one_more = settings(given, rows={**ROWS, "advantage": [0, 1]})
    assert one_more != before
    assert settings(given, rows={**ROWS, "ref_chosen_logps": [0.5, 1]}) == before, "follows from the rest"


def test_the_record_does_not_depend_on_the_order_of_a_set(given):
    turned = deepcopy(given["adapter"])
    turned.target_modules = ["q_proj", "v_proj"]
    assert settings(given)["adapter.target_modules"] == ["q_proj", "v_proj"]
    assert settings(given, weights="b") != settings(given)


def save(folder, step, settings):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    kept = {} if settings is None else {RunRecord.__name__: {"args": {"settings": settings}}}
    (checkpoint / "trainer_state.json").write_text(json.dumps({"stateful_callbacks": kept}))
    return checkpoint


def test_the_last_whole_checkpoint_of_this_very_run_is_continued(given, tmp_path, caplog):
    own, foreign = settings(given), settings(given, weights="b")
    assert last_checkpoint(tmp_path, own) == (None, "")
    save(tmp_path, 500, foreign)
    obstacle = last_checkpoint(tmp_path, own).obstacle
    assert obstacle == "weights was 'b' and is 'a'"
    first = save(tmp_path, 9, own)  # a run that was started over beside them, and broke off
    save(tmp_path, 12, own).joinpath("trainer_state.json").write_text('{"stateful_call')
    (tmp_path / "checkpoint-15").mkdir()
    assert last_checkpoint(tmp_path, own) == (str(first), "")
    assert "not continued: 500" in caplog.text


def test_checkpoints_that_do_not_tell_or_cannot_go_on_are_not_continued(given, tmp_path):
    save(tmp_path, 3, None)
    assert "do not tell" in last_checkpoint(tmp_path, settings(given)).obstacle
    weights_only = deepcopy(given["msl"])
    weights_only.save_only_model = True
    own = settings(given, msl=weights_only)
    save(tmp_path, 4, own)
    assert "no state of the optimizer" in last_checkpoint(tmp_path, own).obstacle
