"""The choices that the paper leaves open, as options of the rows."""

import math
from dataclasses import dataclass, field, fields

from idl_hf import criteria, dpi
from idl_hf.encoding import default_encoder

CHOICES: dict[str, tuple[str | None, ...]] = {
    "targets": ("one", "all"),
    "reply": (None, "last", "each", "all"),
    "order": ("free", "target_last", "input", "random"),
    "rejected": ("random", "first"),
    "criterion_type": (None, *criteria.CRITERION_TYPES),
    "conditioning": ("references", "other_person", "none", "profile"),
}


@dataclass
class RowOptions:
    """The choices the paper leaves open; every default is named in docs/deviations.md."""

    clusters: int = 3  # c, paper A.2
    references: int = 5  # k
    scale: float = 5.0  # lambda of convED
    targets: str = "one"  # one target dialogue per cluster, or all
    reply: str | None = None  # which replies a row predicts; None: "last" for msl, "each" for dpoc
    order: str = "free"
    spi: bool = True  # False: random references (Table 3)
    rejected: str = "random"  # which of the candidates
    criterion_type: str | None = None  # None: one of those that can be built
    conditioning: str = "references"  # what the prompt knows of the person
    encoder: str = field(default_factory=default_encoder)
    seed: int = 0

    def check(self, config: str) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                valid = ", ".join(repr(choice) for choice in choices)
                raise ValueError(
                    f"The option {name}={getattr(self, name)!r} is unknown. The valid values are: {valid}."
                )
        for name in ("clusters", "references", "seed"):
            if type(getattr(self, name)) is not int:
                raise ValueError(f"The option {name} must be a whole number, found {getattr(self, name)!r}.")
        if type(self.spi) is not bool or not isinstance(self.encoder, str):
            raise ValueError(f"spi must be True or False and encoder a name, found {self.spi!r} and {self.encoder!r}.")
        if self.clusters < 1 or not 0 <= self.references <= dpi.MAX_REFERENCES or not 0 <= self.seed < 2**32:
            raise ValueError(
                f"clusters must be at least 1, references between 0 and {dpi.MAX_REFERENCES} and seed between 0 and "
                f"2^32 - 1, found clusters={self.clusters}, references={self.references}, seed={self.seed}."
            )
        if not isinstance(self.scale, int | float) or not 0 <= self.scale < math.inf:
            raise ValueError(f"The option scale must be a number that is not negative, found {self.scale!r}.")
        if config == "dpoc" and self.reply == "all":
            raise ValueError("reply='all' puts several replies into one row; dpoc takes 'each' or 'last'.")
        if config == "msl" and self.reply == "each":
            raise ValueError("reply='each' is for dpoc; msl takes 'last' or 'all' (every reply, one row a dialogue).")


def option_names() -> list[str]:
    return [option.name for option in fields(RowOptions)]
