"""The settings of the contrast: SFTConfig plus weight, softmax and strangers, and what of SFTConfig it refuses."""

from dataclasses import dataclass

from trl import SFTConfig

from idl_hf.contrast.fields import ContrastFields
from idl_hf.machine import settle_precision
from idl_hf.rows.strangers import AT_RANDOM, MOST_ALIKE


@dataclass
class ContrastConfig(ContrastFields, SFTConfig):
    """SFTConfig with the fields of ContrastFields, and with bfloat16 only where the machine computes fast in it.

    Raises ValueError for settings that are not possible, or that the contrast has no meaning for.
    """

    def __post_init__(self) -> None:
        settle_precision(self)
        super().__post_init__()
        self.prediction_loss_only = True  # whole logits of all prompts would be of no use to anybody
        if not 0 <= self.contrast_weight < float("inf"):
            raise ValueError(
                f"contrast_weight must be a number that is not negative, found {self.contrast_weight}. A negative one "
                "would reward replies that could be anybody's."
            )
        if self.contrast_temperature is not None and not 0 < self.contrast_temperature < float("inf"):
            raise ValueError(f"contrast_temperature must be above 0, or None, found {self.contrast_temperature}.")
        if not (0 <= self.random_strangers <= AT_RANDOM and 0 <= self.nearest_strangers <= MOST_ALIKE):
            raise ValueError(
                f"random_strangers must be 0 to {AT_RANDOM} and nearest_strangers 0 to {MOST_ALIKE}, as many as a "
                f"dialogue has, found {self.random_strangers} and {self.nearest_strangers}."
            )
        if self.random_strangers + self.nearest_strangers == 0:
            raise ValueError("random_strangers and nearest_strangers are both 0: there is nobody to compare with.")
        if self.loss_type != "nll" or self.label_smoothing_factor:
            raise ValueError(
                f"The contrast is added to the plain NLL, found loss_type={self.loss_type!r} and "
                f"label_smoothing_factor={self.label_smoothing_factor}. Pass 'nll' and 0."
            )
        if self.max_length is not None:
            raise ValueError(
                f"max_length would cut the end, which is what is learnt, found {self.max_length}. Fit the prompts of "
                "a dialogue together before (max_prompt_tokens), and leave it out."
            )
        if self.packing or self.padding_free or self.assistant_only_loss:
            raise ValueError(
                "packing, padding_free and assistant_only_loss are not supported: a dialogue's prompts stand in rows "
                "of their own, and what is learnt is its completion."
            )
