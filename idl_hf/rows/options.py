"""The choices that the paper leaves open, as options of the rows."""

import json
import math
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal

from idl_hf import criteria, dpi
from idl_hf.arguments import option
from idl_hf.cache import digest
from idl_hf.encoding import DEFAULT_ENCODER, ENCODER_VARIABLE, default_encoder
from idl_hf.persona.extractor import PATTERNS

AUTO, SAMPLE = "auto", "sample"  # of `negatives`
OF_OTHERS = ("other_person", "strangers")  # of `conditioning`: prompts that show another person's dialogues
# "release": what the authors' released code does, as far as it runs. `person` is an option of ConvAI2 alone.
# "small_logs": every reply of every dialogue, where "paper" makes three rows of a person's twelve dialogues
PRESETS: dict[str, dict[str, int | str]] = {
    "paper": {},
    "release": {
        "min_dialogues_to_cluster": 6,
        "targets": "last",
        "references": "all",
        "order": "input",
        "rejected": "first",
        "person": "profile",
    },
    "small_logs": {"targets": "all", "reply": "all"},
}


@dataclass
class RowOptions:
    """The choices the paper leaves open; every default is named in docs/deviations.md."""

    clusters: int = option(
        3, "Most clusters of a person's dialogues (the paper's c), with two or more each on average."
    )
    min_dialogues_to_cluster: int = option(4, "Fewer dialogues than this to choose from are one cluster.")
    references: int | Literal["all"] = option(
        5,
        f'Most reference dialogues of a prompt (the paper\'s k), 0 to {dpi.MAX_REFERENCES}; more, or `"all"` of the '
        'cluster, with `order="input"` or `"random"`.',
    )
    reference_turns: str = option(
        "all",
        'What a prompt shows of a reference: `"all"` of its turns, as a dialogue (paper), or what the person says in '
        'it, `"self"`, a line each in the system prompt, for which more references have room.',
        choices=("all", "self"),
    )
    scale: float = option(5.0, "Cost of substituting an utterance, times 1 - cosine (the paper's λ, A.3).")
    targets: str = option(
        "one",
        'Which dialogues have rows: `"one"` of each cluster, at random (paper), the `"last"` of each, or `"all"`.',
        choices=("one", "last", "all"),
    )
    reply: str | None = option(
        None,
        'What a row predicts: `None` is `"last"`, the last reply of the dialogue, for msl (paper) and `"each"`, one '
        'reply a row, for dpoc; `"all"` replies in one row are for msl (recommended, eight times the signal for one '
        "forward pass).",
        choices=(None, "last", "each", "all"),
    )
    order: str = option(
        "free",
        'Order of the references: `"free"` is the exact shortest one (paper), `"target_last"` the shortest with the '
        'step into the current dialogue, `"input"` that of the files, `"random"` any.',
        choices=("free", "target_last", "input", "random"),
    )
    spi: bool = option(True, "`False` takes random references (the paper's Table 3).")
    dpi: bool = option(True, "`False` leaves references in the order of the files (the paper's Table 3).")
    rejected: str = option(
        "random",
        'Which candidate is the rejected reply: a `"random"` one or the `"first"`; where the corpus has none, it is a '
        "reply of another person.",
        choices=("random", "first"),
    )
    negatives: str = option(
        AUTO,
        'Who the other people are, of rejected replies, Fabrication, `"other_person"` and `"strangers"`: `"auto"` is '
        "those of the split, where it has one person those of the training split and else the package's sample people "
        '(an easy test), `"sample"` these in any case; `"convai2_idl:<folder>"` is a corpus with its folder.',
    )
    criterion_type: str | None = option(
        None,
        'Type of the criterion replies: `None` is any that can be built; `"inconsistency"`, `"fabrication"` or '
        '`"inversion"` is that one alone.',
        choices=(None, *criteria.CRITERION_TYPES),
    )
    conditioning: str = option(
        "references",
        'What a prompt knows of the person: `"references"`, dialogues `"out_of_cluster"` (the paper\'s Table 5), '
        '`"random"` ones, ones of an `"other_person"`, `"none"`, or the `"profile"`. `"strangers"` has a row for each '
        "of seven others, four at random and then the three most alike, with the references that they would be shown "
        "by in a chat.",
        choices=("references", "out_of_cluster", "random", "other_person", "strangers", "none", "profile"),
    )
    encoder: str = field(
        default_factory=default_encoder,
        metadata={"help": f'Sentence encoder, by name, or `"offline"`; `${ENCODER_VARIABLE}` sets another default.'},
    )
    extractor: str = option(
        PATTERNS, "What finds persona facts: rules, or an adapter or model that was trained to, by name or folder."
    )
    seed: int = option(
        0,
        "What is drawn at random depends on this: rejected and criterion replies on hashes of it and of ids, so that "
        "a person who comes in, or another order of the file, changes one only where theirs is drawn; targets and "
        "random references on the order of a person's dialogues.",
    )

    def check(self, config: str) -> None:
        """Raise ValueError for a value that is not valid, alone, with the others or in this config."""
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                valid = ", ".join(map(repr, choices))
                raise ValueError(f"The option {name}={value!r} is unknown. The valid values are: {valid}.")
        for name in ("clusters", "min_dialogues_to_cluster", "references", "seed"):
            value = getattr(self, name)
            if type(value) is not int and not (name == "references" and value == "all"):
                raise ValueError(f"The option {name} must be a whole number, found {value!r}.")
        names = (self.encoder, self.extractor)
        if not (type(self.spi) is type(self.dpi) is bool and all(isinstance(name, str) and name for name in names)):
            raise ValueError(
                f"spi and dpi must be True or False, encoder and extractor names, found spi={self.spi!r}, "
                f"dpi={self.dpi!r}, encoder={self.encoder!r} and extractor={self.extractor!r}."
            )
        if self.negatives not in (AUTO, SAMPLE):
            corpus_of(self.negatives)
        few = 0 if self.references == "all" else self.references
        if self.clusters < 1 or few < 0 or not 0 <= self.seed < 2**32:
            raise ValueError(
                "clusters must be at least 1, references at least 0 and seed between 0 and 2^32 - 1, found "
                f"clusters={self.clusters}, references={self.references}, seed={self.seed}."
            )
        if self.conditioning == "out_of_cluster" and self.clusters == 1:
            raise ValueError(
                "conditioning='out_of_cluster' shows dialogues of other clusters, so clusters=1 has none."
            )
        if not self.dpi and self.order not in ("free", "input"):
            raise ValueError(f"dpi=False leaves references in input order, so order={self.order!r} has no meaning.")
        many = self.references == "all" or self.references > dpi.MAX_REFERENCES
        if many and not self.input_order and self.order != "random":
            raise ValueError(
                f"The exact order is found for at most {dpi.MAX_REFERENCES} references, found references="
                f"{self.references!r}. Pass references={dpi.MAX_REFERENCES} or fewer, or order='input' or 'random'."
            )
        if not isinstance(self.scale, int | float) or not 0 <= self.scale < math.inf:
            raise ValueError(f"The option scale must be a number that is not negative, found {self.scale!r}.")
        if config == "dpoc" and self.reply == "all":
            raise ValueError("reply='all' puts several replies into one row; dpoc takes 'each' or 'last'.")
        if config == "msl" and self.reply == "each":
            raise ValueError("reply='each' is for dpoc; msl takes 'last' or 'all' (every reply, one row a dialogue).")

    def for_config(self, config: str) -> "RowOptions":
        """Return these options with the reply that a row of this config predicts filled in."""
        return replace(self, reply=self.reply or ("each" if config == "dpoc" else "last"))

    def seed_of(self, *names: str) -> int:
        """Return the seed of what is drawn under these names, such as ids of person and dialogue."""
        return zlib.crc32(repr((self.seed, *names)).encode())

    def drawn(self, texts: Iterable[str], *names: object) -> str:
        """Return the text that is drawn under these names: the one with the smallest hash.
        So neither the order of the texts nor one that comes in changes the draw, unless it is that one."""
        return min(texts, key=lambda text: digest(self.seed, *names, text))

    @property
    def own_turns(self) -> bool:
        """Whether of references only what the person says is shown."""
        return self.reference_turns == "self"

    @property
    def input_order(self) -> bool:
        """Whether references stay in the order of the files."""
        return self.order == "input" or not self.dpi


CHOICES: dict[str, tuple[str | None, ...]] = {
    setting.name: setting.metadata["choices"] for setting in fields(RowOptions) if "choices" in setting.metadata
}


def preset_options(preset: str, names: Collection[str], config: str = "msl") -> dict[str, Any]:
    """Return what a preset sets of the options named. Raises ValueError for an unknown preset.
    A dpoc row predicts one reply, so that there every reply has a row without being asked for."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown. The valid values are: {', '.join(map(repr, PRESETS))}.")
    settings = {name: value for name, value in PRESETS[preset].items() if name in names}
    if config == "dpoc" and settings.get("reply") == "all":
        del settings["reply"]
    return settings


def with_preset(given: Mapping[str, Any], names: Collection[str], config: str = "msl") -> dict[str, Any]:
    """Return options with what their preset sets of those named; one that is given by name wins."""
    return preset_options(given.get("preset", "paper"), names, config) | dict(given)


def corpus_of(negatives: object) -> tuple[str, str]:
    """Return the corpus and the folder that the option `negatives` names. Raises ValueError where it names none."""
    name, _, folder = negatives.partition(":") if isinstance(negatives, str) else ("", "", "")
    if not name or not folder:
        raise ValueError(
            f"The option negatives={negatives!r} is unknown. Expected 'auto', 'sample', or a corpus with the folder "
            "of its raw files, such as 'convai2_idl:data/convai2'."
        )
    return name if "/" in name else f"idl_hf/{name}", folder


def option_names() -> list[str]:
    """Return the names of all options that shape rows whatever the corpus."""
    return [setting.name for setting in fields(RowOptions)]


def check_options(where: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError, with `where`, unless all options are of rows and valid."""
    unknown = sorted(set(options) - set(option_names()))
    if unknown:
        raise ValueError(
            f"{where} has unknown options: {', '.join(unknown)}. Expected some of: {', '.join(option_names())}."
        )
    try:
        RowOptions(**options).check("dpoc" if options.get("reply") == "each" else "msl")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def option_table(config: type) -> str:
    """Return a Markdown table of the options of a builder's config class: name, default, what it does."""
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for setting in fields(config):
        if "help" in setting.metadata:  # those of `datasets` have none
            default = DEFAULT_ENCODER if setting.default is MISSING else setting.default
            shown = json.dumps(default) if isinstance(default, str) else repr(default)
            lines.append(f"| `{setting.name}` | `{shown}` | {setting.metadata['help']} |")
    return "\n".join(lines)
