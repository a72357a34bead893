"""The choices that the paper leaves open, as options of the rows."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from idl_hf import criteria, dpi
from idl_hf.encoding import default_encoder
from idl_hf.persona.extractor import PATTERNS

CHOICES: dict[str, tuple[str | None, ...]] = {
    "targets": ("one", "last", "all"),
    "reply": (None, "last", "each", "all"),
    "order": ("free", "target_last", "input", "random"),
    "rejected": ("random", "first"),
    "criterion_type": (None, *criteria.CRITERION_TYPES),
    "conditioning": ("references", "out_of_cluster", "random", "other_person", "none", "profile"),
}
# "release": what the authors' released code does, as far as it runs. `person` is an option of ConvAI2 alone
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "release": {
        "min_dialogues_to_cluster": 6,
        "targets": "last",
        "references": "all",
        "order": "input",
        "rejected": "first",
        "person": "profile",
    },
}


@dataclass
class RowOptions:
    """The choices the paper leaves open; every default is named in docs/deviations.md."""

    clusters: int = 3  # c, paper A.2
    min_dialogues_to_cluster: int = 4  # a person with fewer has one cluster
    references: int | Literal["all"] = 5  # k, from 0; "all": every other dialogue of the cluster
    scale: float = 5.0  # lambda of convED
    targets: str = "one"  # one random target dialogue per cluster, the last, or all
    reply: str | None = None  # which replies a row predicts; None: "last" for msl, "each" for dpoc
    order: str = "free"
    spi: bool = True  # False: random references (Table 3)
    dpi: bool = True  # False: references in input order (Table 3)
    rejected: str = "random"  # which of the candidates
    criterion_type: str | None = None  # None: one of those that can be built
    conditioning: str = "references"  # what the prompt knows of the person
    encoder: str = field(default_factory=default_encoder)
    extractor: str = PATTERNS  # the rules, or a PersonaExtractor: an adapter or model, on the Hub or in a folder
    seed: int = 0

    def check(self, config: str) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                valid = ", ".join(repr(choice) for choice in choices)
                raise ValueError(
                    f"The option {name}={getattr(self, name)!r} is unknown. The valid values are: {valid}."
                )
        for name in ("clusters", "min_dialogues_to_cluster", "references", "seed"):
            value = getattr(self, name)
            if type(value) is not int and not (name == "references" and value == "all"):
                raise ValueError(f"The option {name} must be a whole number, found {value!r}.")
        if type(self.spi) is not bool or type(self.dpi) is not bool or not isinstance(self.encoder, str):
            raise ValueError(
                f"spi and dpi must be True or False and encoder a name, found {self.spi!r}, {self.dpi!r} and {self.encoder!r}."
            )
        few = 0 if self.references == "all" else self.references
        if self.clusters < 1 or few < 0 or not 0 <= self.seed < 2**32:
            raise ValueError(
                "clusters must be at least 1, references at least 0 and seed between 0 and 2^32 - 1, found "
                f"clusters={self.clusters}, references={self.references}, seed={self.seed}."
            )
        self._check_order()
        if not isinstance(self.scale, int | float) or not 0 <= self.scale < math.inf:
            raise ValueError(f"The option scale must be a number that is not negative, found {self.scale!r}.")
        if config == "dpoc" and self.reply == "all":
            raise ValueError("reply='all' puts several replies into one row; dpoc takes 'each' or 'last'.")
        if config == "msl" and self.reply == "each":
            raise ValueError("reply='each' is for dpoc; msl takes 'last' or 'all' (every reply, one row a dialogue).")

    @property
    def input_order(self) -> bool:
        return self.order == "input" or not self.dpi

    def _check_order(self) -> None:
        if not self.dpi and self.order not in ("free", "input"):
            raise ValueError(
                f"dpi=False leaves the references in input order, so order={self.order!r} has no meaning."
            )
        many = self.references == "all" or self.references > dpi.MAX_REFERENCES
        if many and not self.input_order and self.order != "random":
            raise ValueError(
                f"The exact order is found for at most {dpi.MAX_REFERENCES} references, found references="
                f"{self.references!r}. Pass references={dpi.MAX_REFERENCES} or fewer, or order='input' or 'random'."
            )


def preset_options(preset: str, names: Collection[str]) -> dict[str, Any]:
    """What a preset sets of the options named."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown. The valid values are: {', '.join(map(repr, PRESETS))}.")
    return {name: value for name, value in PRESETS[preset].items() if name in names}


def option_names() -> list[str]:
    return [option.name for option in fields(RowOptions)]
