"""Rows and losses as they were: digests of the rows of all configs, and four steps of both stages, on the sample data.

The encoder is a toy, the model tiny and float64 on one thread, so that no machine and no library's kernel decides a
digit.
A commit that means to change rows or losses runs `python tests/test_kept_numbers.py`, which writes kept_numbers.json
anew, and says how many rows changed.
"""

import hashlib
import json
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from idl_hf.corpora.jsonl import read_dialogues
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.options import RowOptions
from idl_hf.rows.people import People
from idl_hf.schema import features, group_by_person

KEPT = Path(__file__).with_name("kept_numbers.json")
SAMPLE_DATA = Path(__file__).parents[1] / "idl_hf" / "sample_data"
VARIANTS = {
    "default": {}, "all": {"targets": "all"}, "last": {"targets": "last", "rejected": "first"},
    "no SPI": {"spi": False}, "no DPI": {"dpi": False},
    "target last": {"order": "target_last", "references": 3, "clusters": 2},
    "out of cluster": {"conditioning": "out_of_cluster"}, "random": {"conditioning": "random"},
    "other person": {"conditioning": "other_person"}, "none": {"conditioning": "none"},
    "profile": {"conditioning": "profile"}, "no references": {"references": 0}, "another seed": {"seed": 3},
}  # fmt: skip
MESSAGES = {"prompt", "completion", "chosen", "criterion", "rejected"}


class ToyEncoder:
    """Unit vectors of counts of letters, in steps of 1/16 before they are scaled: any arithmetic gives the same."""

    name = identity = "a toy for tests"
    encoded_count = 0

    def encode_ahead(self, texts):
        list(texts)

    def encode(self, texts):
        counts = np.array([[text.lower().count(letter) for letter in "etaoinshrdlucmfwypvbgk"] for text in texts])
        vectors = np.round(counts * 16 / np.maximum(1, counts.sum(1, keepdims=True))) + 0.25
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def rows(config: str, split: str, **options) -> list[dict]:
    persons = group_by_person(read_dialogues(SAMPLE_DATA / f"{split}.jsonl"))
    builder = RowBuilder(config, People(persons, ToyEncoder()), RowOptions(encoder="toy", **options))
    return [row for person in persons for row in builder.rows(person)]


def digests() -> dict[str, list[str]]:
    """The digest of each row, by variant, config and split."""
    found = {}
    for name, options in VARIANTS.items():
        for config in ("sessions", "msl", "dpoc"):
            for split in ("train", "validation") if config != "sessions" or name == "default" else ():
                made = rows(config, split, **options)
                texts = (json.dumps(row, sort_keys=True, ensure_ascii=False) for row in made)
                found[f"{name}, {config}, {split}"] = [hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts]
    found["all replies, msl, train"] = [
        hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:8]
        for row in rows("msl", "train", targets="all", reply="all")
    ]
    return found


def losses(folder: Path) -> dict[str, list[float]]:
    """Loss and gradient norm of four steps of both stages, through the functions that the commands call."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
    from trl import ModelConfig

    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.models.offline import resolve_model
    from idl_hf.training.data import DataArguments
    from idl_hf.training.stages import MSLConfig, train_dpoc, train_msl

    class Rows(DataArguments):
        def load(self, config, split):
            made = rows(config, split, **self.dataset_options)[:8]
            return Dataset.from_list(made, features=features(config))

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("offline"))
    config = GPT2Config(  # whose norms stay float64; those of Llama round to float32
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=1024, resid_pdrop=0, embd_pdrop=0,
        attn_pdrop=0, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator).double() / 64)
    model.save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    settings = {
        "per_device_train_batch_size": 1, "max_steps": 4, "gradient_checkpointing": False, "use_cpu": True,
        "bf16": False, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "seed": 0, "disable_tqdm": True,
        "learning_rate": 1e-2, "lr_scheduler_type": "constant",
    }  # fmt: skip
    whole = ModelConfig(model_name_or_path=str(folder / "tiny"), dtype="float64")
    trained = {
        "msl": train_msl(
            Rows(dataset_options={"targets": "all", "reply": "all"}, max_prompt_tokens=256),
            MSLConfig(str(folder / "msl"), **settings), whole,
        ),
        "dpoc": train_dpoc(
            Rows(dataset_options={"targets": "all"}, max_prompt_tokens=256),
            DPOCConfig(str(folder / "dpoc"), **settings),
            ModelConfig(
                model_name_or_path=str(folder / "tiny"), dtype="float64", use_peft=True, lora_r=4,
                lora_target_modules=["all-linear"], lora_dropout=0.0,
            ),
        ),
    }  # fmt: skip
    return {
        stage: [step[name] for step in trainer.state.log_history for name in ("loss", "grad_norm") if name in step]
        for stage, trainer in trained.items()
    }


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_rows_are_those_from_before():
    kept, now = json.loads(KEPT.read_text())["rows"], digests()
    pairs = {name: zip_longest(kept.get(name, []), digests) for name, digests in now.items()}
    changed = {name: sum(before != after for before, after in both) for name, both in pairs.items()}
    assert {name: count for name, count in changed.items() if count} == {}


def test_losses_are_those_from_before(tmp_path, one_thread):
    kept, now = json.loads(KEPT.read_text())["losses"], losses(tmp_path)
    for stage, values in now.items():
        assert values == pytest.approx(kept[stage], rel=1e-9, abs=1e-9), stage


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        numbers = {"rows": digests(), "losses": losses(Path(place))}
    KEPT.write_text(json.dumps(numbers, indent=0) + "\n")
    print(f"{sum(map(len, numbers['rows'].values()))} rows, {numbers['losses']}", file=sys.stderr)
