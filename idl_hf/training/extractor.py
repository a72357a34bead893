"""Training of the persona extractor (paper A.2): sentences -> their triples, the loss on the triples only.

examples/train_extractor.py parses its arguments and calls this; examples/prepare_personaext.py makes the samples.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset
from trl import ModelConfig, SFTConfig, SFTTrainer

from idl_hf.persona.triples import format_prompt, format_sample, parse_sample
from idl_hf.training.stages import model_to_train, peft_config, run

COLUMNS = ("prompt", "completion", "sentences")


@dataclass
class ExtractorDataArguments:
    """Which samples to train on."""

    data_dir: str = field(
        metadata={
            "help": "Folder with train.jsonl and validation.jsonl, as examples/prepare_personaext.py makes them."
        }
    )
    dataset_name: str = field(default="PersonaExt", metadata={"help": "What the model card calls the data."})
    single_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of the samples to take apart into their sentences, as PersonaExtractor.extract asks for them; "
            "0 is the paper."
        },
    )
    max_rows: int | None = field(default=None, metadata={"help": "Trains on this many samples, drawn at random."})

    def __post_init__(self) -> None:
        if not 0 <= self.single_share <= 1:
            raise ValueError(f"--single_share must be between 0 and 1, found {self.single_share}.")

    def load(self, split: str) -> Dataset:
        """The samples of train.jsonl or validation.jsonl: prompt, completion, sentences."""
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
    """Supervised fine-tuning of any causal LM, with LoRA by `model_args`. Saves to `args.output_dir`."""
    if args.max_length not in (None, SFTConfig.max_length) or args.completion_only_loss is False or args.packing:
        raise ValueError(
            "The extractor learns whole lists of triples, and those only: max_length, packing and "
            "completion_only_loss=False cannot be combined with it."
        )
    args.max_length = None  # TRL's cut would take the end, which is the triples
    args.completion_only_loss = True
    train = data.load("train")
    if data.max_rows is not None and len(train) > data.max_rows:
        train = train.shuffle(seed=0).select(range(data.max_rows))
    evaluated = str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
    model, tokenizer = model_to_train(args, model_args)
    trainer = SFTTrainer(  # ends each completion with the tokenizer's end of text
        model=model,
        args=args,
        train_dataset=take_apart(train, data.single_share, args.seed),
        eval_dataset=data.load("validation") if evaluated else None,
        processing_class=tokenizer,
        peft_config=peft_config(model, model_args),
    )
    return run(trainer, data, model_args)


def take_apart(rows: Dataset, share: float, seed: int = 0) -> Dataset:
    """That share of the samples, drawn at random, as samples of one sentence each, in the place of the whole."""
    drawn = np.random.default_rng(seed).permutation(len(rows))[: round(share * len(rows))]
    chosen = set(drawn.tolist())

    def cut(batch: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for i, *sample in zip(indices, *(batch[name] for name in COLUMNS), strict=True):
            for values in _singles(*sample) if i in chosen else [sample]:
                for name, value in zip(COLUMNS, values, strict=True):
                    made[name].append(value)
        return made

    return rows.map(cut, with_indices=True, batched=True, desc="Taking samples apart")


def _singles(_: str, completion: str, sentences: list[str]) -> list[tuple[str, str, list[str]]]:
    triples = parse_sample(completion, len(sentences))
    return [
        (format_prompt([sentence]), format_sample([own]), [sentence])
        for sentence, own in zip(sentences, triples, strict=True)
    ]
