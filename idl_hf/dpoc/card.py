"""What a model card says beyond TRL's: how to make the model again."""

import dataclasses
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from accelerate.utils import is_peft_model
from transformers import TrainingArguments

from idl_hf.shown import scrub, without_paths

if TYPE_CHECKING:
    from idl_hf.dpoc.config import DPOCConfig

_TITLE = (
    '"In Dialogues We Learn": Towards Personalized Dialogue Without Pre-defined Profiles through In-Dialogue Learning'
)
_AUTHORS = "Chuanqi Cheng and Quan Tu and Shuo Shang and Cunli Mao and Zhengtao Yu and Wei Wu and Rui Yan"
PAPER = {
    "title": _TITLE,
    "id": "2403.03102",
    "citation": textwrap.dedent(f"""\
        @inproceedings{{cheng2024in,
            title        = {{{{{_TITLE}}}}},
            author       = {{{_AUTHORS}}},
            year         = 2024,
            booktitle    = {{Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing}},
            eprint       = {{2403.03102}},
        }}"""),
}
# Of one machine or one run, or what may hold a token or a path
_NOT_RECIPE = {
    "output_dir", "logging_dir", "run_name", "local_rank", "resume_from_checkpoint", "disable_tqdm", "debug",
    "report_to", "project", "deepspeed", "fsdp_config", "model_init_kwargs", "use_cpu", "ddp_backend", "push_to_hub",
}  # fmt: skip
_NOT_RECIPE_PREFIXES = ("hub_", "trackio_", "dataloader_", "log_")
_PLAIN = (bool, int, float, str, list, dict)


def append_section(card: Path, title: str, values: dict[str, Any]) -> None:
    """Add `values` as YAML to a card that TRL wrote, and mend its link to a base model that is not on the Hub.

    Of a path, in either, the card has the last part alone.
    """
    text = scrub(card.read_text(encoding="utf-8")).replace("[None](https://huggingface.co/None)", "a local model")
    content = yaml.safe_dump(without_paths(values), sort_keys=True, allow_unicode=True)
    card.write_text(f"{text}\n## {title}\n\n```yaml\n{content}```\n", encoding="utf-8")


def recipe(model: Any, args: "DPOCConfig") -> dict[str, Any]:
    """Return the settings of training and adapter that are not the default, and those of the method in any case."""
    settings = changed_settings(args)
    settings |= {"penalty": args.penalty, "penalty_form": args.penalty_form, "beta": args.beta}
    settings["processes"] = args.world_size
    if is_peft_model(model):
        adapter = next(iter(model.peft_config.values()))
        defaults = type(adapter)().to_dict()
        settings["adapter"] = {
            name: sorted(value) if isinstance(value, set) else value
            for name, value in adapter.to_dict().items()
            if value != defaults[name] and isinstance(value, (*_PLAIN, set)) and not name.endswith("_name_or_path")
        }
    return settings


def changed_settings(args: TrainingArguments) -> dict[str, Any]:
    """Return the settings of a config that differ from the defaults of its class."""
    changed = {}
    values = args.to_dict()  # enums and dtypes as words
    for field in dataclasses.fields(args):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        value = values.get(field.name)
        left_out = field.name in _NOT_RECIPE or field.name.startswith(_NOT_RECIPE_PREFIXES)
        if not left_out and isinstance(value, _PLAIN) and value != getattr(default, "value", default):
            changed[field.name] = value
    return changed
