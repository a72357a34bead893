"""The settings of DPOC: DPOConfig plus the penalty."""

from dataclasses import dataclass, field
from typing import Any

from trl import DPOConfig

from idl_hf.machine import settle_precision

PENALTY_FORMS = ("paper", "released")


@dataclass
class DPOCConfig(DPOConfig):
    """DPOConfig with the penalty of Eq. 5 and 6. Defaults that differ from DPOConfig's: `learning_rate` 1e-5 and
    `per_device_train_batch_size` 1 (paper A.2), `max_length` None (TRL's 1,024 silently drops rows with long prompts),
    and bfloat16 only where the machine computes fast in it.
    """

    learning_rate: float = field(default=1e-5, metadata={"help": "The initial learning rate for AdamW (paper A.2)."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Rows per device and step (paper A.2)."})
    max_length: int | None = field(
        default=None,
        metadata={"help": "Cuts prompt + completion to this many tokens at the end. None: nothing is cut."},
    )
    penalty: float = field(
        default=2.0,
        metadata={
            "help": "λ of DPOC: loss = L_DPO(chosen, rejected) - λ min(0, r_cho - r_crt) - λ min(0, r_crt - r_rej), "
            "r being the log-ratio of policy and reference (paper Eq. 5, 6 and A.2). 0: plain DPO."
        },
    )
    penalty_form: str = field(
        default="paper",
        metadata={
            "help": "'paper': Eq. 5 and 6. 'released': the authors' code, which adds the two clamped terms inside the "
            "argument of -log σ(β·); pass penalty 0.5 with it, as they did.",
            "choices": list(PENALTY_FORMS),
        },
    )
    prefix_sharing: str = field(  # a bool too, which argument parsers cannot say
        default="auto",
        metadata={
            "help": "Run each prompt through the model once for its three completions. 'auto': where the model and the "
            "settings allow it, logging which; true: or raise; false: every completion in a row of its own.",
            "choices": ["auto", "true", "false"],
        },
    )
    max_prompt_length: int | None = field(
        default=None,
        metadata={
            "help": "Keeps the last this many tokens of a longer prompt; how many were cut is logged, but for streams."
        },
    )

    def __post_init__(self) -> None:
        settle_precision(self)
        super().__post_init__()
        if self.penalty < 0:
            raise ValueError(f"penalty must not be negative (it would reward violations), found {self.penalty}.")
        if self.penalty_form not in PENALTY_FORMS:
            raise ValueError(
                f"penalty_form='{self.penalty_form}' is unknown. The valid values are: {', '.join(PENALTY_FORMS)}."
            )
        if self.max_prompt_length is not None and self.max_prompt_length < 1:
            raise ValueError(f"max_prompt_length must be at least 1, found {self.max_prompt_length}.")
        self.prefix_sharing = _parse_prefix_sharing(self.prefix_sharing)
        if self.padding_free:
            raise ValueError("padding_free does nothing in this TRL; prefix_sharing is what saves tokens here.")
        if self.ld_alpha is not None:
            raise ValueError("ld_alpha is defined for two completions (their shared length); DPOC has three.")
        if self.truncation_mode != "keep_start":
            raise ValueError(
                "truncation_mode='keep_end' is not supported; max_prompt_length keeps the end of prompts."
            )
        plain = (self.loss_type, self.loss_weights, self.f_divergence_type) == (["sigmoid"], None, "reverse_kl")
        if self.penalty_form == "released" and (not plain or self.use_weighting):
            raise ValueError(
                "penalty_form='released' puts the penalty inside the sigmoid loss, so it needs loss_type='sigmoid' "
                "without loss_weights, use_weighting or another f_divergence_type."
            )


def _parse_prefix_sharing(value: str | bool) -> Any:
    """True, False or "auto"; a command line only has words for them."""
    words: dict[str, str | bool] = {"auto": "auto", "true": True, "false": False}
    if str(value).lower() not in words:
        raise ValueError(f"prefix_sharing must be 'auto', True or False, found {value!r}.")
    return words[str(value).lower()]
