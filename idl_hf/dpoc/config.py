"""The settings of DPOC: DPOConfig plus the penalty, and which of DPOConfig's settings it refuses."""

import math
from dataclasses import dataclass
from typing import Any

from trl import DPOConfig

from idl_hf.dpoc.fields import PENALTY_FORMS, DPOCFields
from idl_hf.machine import settle_precision


@dataclass
class DPOCConfig(DPOCFields, DPOConfig):
    """DPOConfig with the fields of DPOCFields, and with bfloat16 only where the machine computes fast in it.

    Raises ValueError for settings that are not possible, or that DPOC has no meaning for.
    """

    def __post_init__(self) -> None:
        settle_precision(self)
        super().__post_init__()
        if not 0 <= self.penalty < math.inf:
            raise ValueError(
                f"penalty must be 0 or more (less would reward violations) and finite, found {self.penalty}."
            )
        if self.penalty_form not in PENALTY_FORMS:
            raise ValueError(
                f"penalty_form='{self.penalty_form}' is unknown. The valid values are: {', '.join(PENALTY_FORMS)}."
            )
        if self.max_prompt_length is not None and self.max_prompt_length < 1:
            raise ValueError(f"max_prompt_length must be at least 1, found {self.max_prompt_length}.")
        # All that a command line has are words
        words: dict[str, Any] = {"auto": "auto", "true": True, "false": False, "dialogue": "dialogue"}
        if str(self.prefix_sharing).lower() not in words:
            raise ValueError(
                f"prefix_sharing must be 'auto', True, False or 'dialogue', found {self.prefix_sharing!r}."
            )
        self.prefix_sharing = words[str(self.prefix_sharing).lower()]
        if self.prefix_sharing == "dialogue" and (sorting := {"aot", "aot_unpaired"} & set(self.loss_type)):
            raise ValueError(
                f"loss_type={sorted(sorting)[0]!r} compares the rows of a batch, which with prefix_sharing='dialogue' "
                "would be the replies of one dialogue. Pass prefix_sharing=True."
            )
        if self.prefix_sharing == "dialogue" and self.max_prompt_length is not None:
            raise ValueError(
                "max_prompt_length keeps the end of each prompt, so those of a dialogue no longer begin alike, which "
                "prefix_sharing='dialogue' lives on. Fit the rows before (max_prompt_tokens), or pass True."
            )
        if self.include_num_input_tokens_seen == "non_padding":
            raise ValueError("include_num_input_tokens_seen='non_padding' is not supported; num_tokens is logged.")
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
