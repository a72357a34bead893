"""Training of the persona extractor (paper A.2): sentences -> their triples, the loss on the triples only.

examples/train_extractor.py parses its arguments and calls this; examples/prepare_personaext.py makes the samples.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig, SFTTrainer

from idl_hf import token_ids
from idl_hf.arguments import option, refuse_less_than_one, required
from idl_hf.chat_template import guarded
from idl_hf.persona.triples import format_prompt, format_sample, parse_sample
from idl_hf.training.stages import learn_completions_only, model_to_train, train_on

COLUMNS = ("prompt", "completion", "sentences")


@dataclass
class ExtractorDataArguments:
    """Which samples to train on."""

    data_dir: str = required("Folder with the two files that examples/prepare_personaext.py makes.")
    dataset_name: str = option("PersonaExt", "What the model card calls the data.")
    single_share: float = option(
        0.0,
        "Share of the samples to take apart into their sentences, as PersonaExtractor.extract asks for "
        "them; 0 is the paper.",
    )
    max_rows: int | None = option(None, "Trains on this many samples, drawn at random.")

    def __post_init__(self) -> None:
        if not 0 <= self.single_share <= 1:
            raise ValueError(f"--single_share must be between 0 and 1, found {self.single_share}.")
        refuse_less_than_one(max_rows=self.max_rows)

    def load(self, split: str) -> Dataset:
        """Return prompt, completion and sentences of a split's samples; ValueError without the file or one of them."""
        file = Path(self.data_dir, f"{split}.jsonl")
        if not file.is_file():
            raise ValueError(f"'{file}' does not exist. Make it with examples/prepare_personaext.py.")
        rows = load_dataset("json", data_files=str(file), split="train")
        missing = [name for name in COLUMNS if name not in rows.column_names]
        if missing:
            raise ValueError(
                f"'{file}' lacks the columns {', '.join(missing)}, found: {', '.join(rows.column_names)}. "
                "Make it with examples/prepare_personaext.py."
            )
        return rows.select_columns(list(COLUMNS))


def train_extractor(data: ExtractorDataArguments, args: SFTConfig, model_args: ModelConfig) -> SFTTrainer:
    """Train any causal LM, with LoRA by `model_args`, on whole lists of triples, and save to `args.output_dir`."""
    learn_completions_only(args, "The extractor learns whole lists of triples, and those only")
    train = data.load("train")
    if data.max_rows is not None and len(train) > data.max_rows:
        train = train.shuffle(seed=0).select(range(data.max_rows))
    loaded = model_to_train(args, model_args)
    rows = {"train": take_apart(train, data.single_share, args.seed)}
    if args.eval_strategy != "no":
        rows["eval"] = data.load("validation")
    encode = partial(_encode, loaded.tokenizer)
    encoded = {name: part.map(encode, remove_columns=part.column_names) for name, part in rows.items()}
    return train_on(SFTTrainer, loaded, encoded, data, args, model_args)


def _encode(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> dict[str, list[int]]:
    prompt = token_ids.text_ids(tokenizer, row["prompt"])
    completion = [
        *token_ids.continue_text(tokenizer, guarded(tokenizer, row["completion"])).ids,
        tokenizer.eos_token_id,
    ]
    return {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}


def take_apart(rows: Dataset, share: float, seed: int = 0) -> Dataset:
    """Return the rows with a share of the samples, drawn at random, as samples of one sentence each in their place."""
    chosen = set(np.random.default_rng(seed).permutation(len(rows))[: round(share * len(rows))].tolist())

    def cut(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
        samples = []
        for i, *sample in zip(indices, *(batch[name] for name in COLUMNS), strict=True):
            samples += _singles(*sample[1:]) if i in chosen else [sample]
        return {name: [sample[place] for sample in samples] for place, name in enumerate(COLUMNS)}

    return rows.map(cut, with_indices=True, batched=True, desc="Taking samples apart")


def _singles(completion: str, sentences: list[str]) -> list[list]:
    triples = parse_sample(completion, len(sentences))
    return [
        [format_prompt([sentence]), format_sample([own]), [sentence]]
        for sentence, own in zip(sentences, triples, strict=True)
    ]
