"""What a second stage learns from other rejected replies and penalties than `idl-hf dpoc` has.

    python benchmarks/second_stage.py --adapter runs/msl --output_dir runs/sampled --rejected sample \
        --data_dir <ConvAI2 files> --dataset_options '{"on_error": "skip"}'

trains one from an MSL adapter, on the prompts that it was trained on and the settings of the scale smollm2_power. What
it is worth is told by `idl-hf evaluate`, beside other lines, as a condition {condition: icl, model: runs/sampled,
prompt: ...} of an experiment.

rejected: "sample" is what the adapter itself replies, drawn at temperature 1, so that the order is real > criterion >
own sample; "row" is that of the row. penalty_form: "smooth" puts softplus(x) for max(0, x) in the paper's penalty,
"per_token" divides log-ratios by the number of tokens first.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from transformers import set_seed
from trl import ModelConfig, TrlParser

import idl_hf  # noqa: F401 (registers the datasets)
from idl_hf.arguments import option
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.dpoc.loss import dpoc_penalty
from idl_hf.dpoc.scores import completion_labels
from idl_hf.dpoc.trainer import DPOCTrainer
from idl_hf.evaluation.experiment import load_scale
from idl_hf.models.identity import RECIPE_FILE, load_recipe
from idl_hf.models.responder import LocalModel, Sampling
from idl_hf.training.data import DataArguments, fit_rows, parse_options
from idl_hf.training.stages import model_to_train, train_on

FORMS = ("paper", "smooth", "per_token")  # of TRAINERS


@dataclass
class Settings:
    """What is trained, on what."""

    adapter: str = option("", "The MSL adapter that it goes on from.")
    output_dir: str = option("runs/second_stage", "Where the adapter goes.")
    data_dir: str = option("", "The ConvAI2 files.")
    dataset_options: str = option(
        "{}", 'Options of the rows as JSON, over the adapter\'s, such as {"on_error": "skip"}.'
    )
    rejected: str = option("row", "Whose the rejected reply is.", ("row", "sample"))
    penalty_form: str = option("paper", "Of the penalty.", FORMS)
    penalty: float = option(2.0, "Its weight.")
    learning_rate: float = option(1.0e-4, "Of the second stage.")
    max_rows: int = option(430, "Rows, in whole dialogues.")
    max_steps: int = option(-1, "Fewer steps than once over the rows.")


class SmoothTrainer(DPOCTrainer):
    """DPOCTrainer whose penalty has no kink."""

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        return self.args.penalty * (F.softplus(criterion - chosen) + F.softplus(rejected - criterion))


class PerTokenTrainer(DPOCTrainer):
    """DPOCTrainer whose penalty compares means over tokens, so that long replies weigh no more than short ones."""

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        self._lengths = (completion_labels(inputs) != -100).sum(dim=1).clamp(min=1).chunk(3)
        return super()._compute_loss(model, inputs, return_outputs)

    def _penalty(self, chosen: Tensor, criterion: Tensor, rejected: Tensor) -> Tensor:
        pairs = zip((chosen, criterion, rejected), self._lengths, strict=True)
        return dpoc_penalty(*[ratio / length for ratio, length in pairs], penalty=self.args.penalty)


TRAINERS = {"paper": DPOCTrainer, "smooth": SmoothTrainer, "per_token": PerTokenTrainer}


def with_samples(rows: Dataset, adapter: str, seed: int = 0) -> Dataset:
    """Return the rows with what the adapter replies to their prompts as the rejected replies. A row whose sample is
    empty or what the person said is left out."""
    set_seed(seed)
    sampling = Sampling(options={"do_sample": True, "temperature": 1.0})
    samples = dict(LocalModel.from_pretrained(adapter).replies(rows["prompt"][:], sampling))
    kept = [i for i, row in enumerate(rows) if samples[i] not in ("", row["chosen"][-1]["content"])]
    print(f"{len(kept)} of {len(rows)} samples are replies of their own.")

    def put(row: dict[str, Any], i: int) -> dict[str, Any]:
        return {"rejected": [{**row["rejected"][-1], "content": samples[i]}]}

    return rows.map(put, with_indices=True).select(kept)


def main() -> None:
    """Train one variant."""
    (settings,) = TrlParser((Settings,)).parse_args_and_config()
    if not Path(settings.adapter, RECIPE_FILE).is_file():
        raise SystemExit(f"--adapter '{settings.adapter}' is no folder of an adapter that `idl-hf msl` made.")
    scale, recipe = load_scale("smollm2_power"), load_recipe(settings.adapter)
    options = {**recipe["options"], **scale.dpoc_options, **parse_options(settings.dataset_options)}
    options.pop("reply", None)  # a dpoc row predicts each reply
    data = DataArguments(
        dataset_name="idl_hf/convai2_idl",
        data_dir=settings.data_dir,
        dataset_options=options,
        max_rows=settings.max_rows,
        max_prompt_tokens=recipe["max_prompt_tokens"],
    )
    given = {"learning_rate": settings.learning_rate, "penalty": settings.penalty, "max_steps": settings.max_steps}
    args = DPOCConfig(**{**scale.training, **scale.dpoc, **given}, output_dir=settings.output_dir)
    model = ModelConfig(model_name_or_path=settings.adapter)
    loaded = model_to_train(args, model)
    rows = fit_rows(data.load("dpoc", data.train_split), loaded.tokenizer, data.max_prompt_tokens, per_dialogue=True)
    if settings.rejected == "sample":
        rows = with_samples(rows, settings.adapter)
    train_on(TRAINERS[settings.penalty_form], loaded, {"train": rows}, data, args, model)


if __name__ == "__main__":
    main()
