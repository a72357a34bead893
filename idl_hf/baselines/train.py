"""From rows to a saved system, by the ordinary `Trainer`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from idl_hf.baselines.inputs import Encoder, Exchange, Known, known_of
from idl_hf.baselines.model import Baseline
from idl_hf.baselines.refiner import Refiner
from idl_hf.baselines.systems import SYSTEMS, save_people
from idl_hf.encoding import SentenceEncoder
from idl_hf.machine import settle_precision
from idl_hf.models.identity import save_recipe
from idl_hf.models.loading import load_tokenizer
from idl_hf.registration import is_public_corpus
from idl_hf.training.data import DataArguments, parse_options

_RAMP = 5  # a KL term's weight rises over one in so many of the steps


@dataclass
class BaselineArguments(TrainingArguments):
    """TrainingArguments, with which system and its sizes."""

    system: str = field(default="", metadata={"help": f"One of {', '.join(SYSTEMS)}."})
    tokenizer: str = field(default="offline", metadata={"help": "Whose tokens it reads and writes."})
    backbone: str = field(
        default="", metadata={"help": "GPT-2 or, of bob, BERT by name, whose weights and tokens it begins with."}
    )
    network: dict[str, Any] = field(default_factory=dict, metadata={"help": "Fields of its config, such as hidden."})

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise ValueError(f"system='{self.system}' is unknown. The systems are: {', '.join(SYSTEMS)}.")
        if self.backbone and not SYSTEMS[self.system].model.stacks:
            raise ValueError(f"'{self.system}' begins with no other model's weights. Leave backbone out.")
        self.remove_unused_columns = False
        settle_precision(self)
        super().__post_init__()


@dataclass(frozen=True)
class Example:
    """A reply of a person, with what was known before it and, if there is one, a reply that denies the profile."""

    person_id: str
    known: Known
    reply: str
    denial: str = ""


def train_baseline(data: DataArguments, args: BaselineArguments) -> Trainer:
    """Train a system on the replies of the rows and save it to `args.output_dir`, with its tokenizer and how its
    prompts were made. Raises ValueError where the rows hold no reply."""
    system = SYSTEMS[args.system]
    examples = list(examples_of(data.load("msl", data.train_split)))
    if not examples:
        raise ValueError(f"The msl rows of '{data.dataset_name}' hold no reply to learn from.")
    if system.denials:
        examples = with_denials(examples, data)
    tokenizer = load_tokenizer(args.backbone or args.tokenizer, plain=True)  # it reads no messages
    model = _model(args, tokenizer, len(examples))
    encoder = Encoder(tokenizer, model.config.limits)
    people = exchanges_of(examples) if args.system == "msp" else {}
    if people:
        vectors = SentenceEncoder(data.row_options("msl")["encoder"], show_progress=False)
        refiner = Refiner(people, vectors.encode, encoder.sizes.exchanges)
        examples = [replace(example, known=refiner.refine(example.known, example.person_id)) for example in examples]
    encoded = [encoder.encode(example.known, example.reply, example.denial) for example in examples]
    trainer = Trainer(model, args, train_dataset=encoded, data_collator=encoder.collate)
    folder = Path(str(args.output_dir))
    # Whoever asks for the last checkpoint has named the folder by all that makes the model
    last = get_last_checkpoint(folder) if args.resume_from_checkpoint == "last" and folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(folder))
    tokenizer.save_pretrained(folder)
    if people:
        save_people(folder, people)
    save_recipe(folder, data.row_options("msl"), data.max_prompt_tokens, is_public_corpus(data.dataset_name))
    return trainer


def _model(args: BaselineArguments, tokenizer: PreTrainedTokenizerBase, examples: int) -> Baseline:
    """Return the system as it begins: with random weights, or with those of its backbone."""
    set_seed(args.seed)
    # In batches of one process, which is what the model counts
    steps = int(examples * args.num_train_epochs) // (args.per_device_train_batch_size * args.world_size)
    if args.max_steps > 0:
        steps = args.max_steps * args.gradient_accumulation_steps
    network = {"end_token_id": _end(tokenizer), "vocab_size": len(tokenizer), "ramp_steps": max(1, steps // _RAMP)}
    if args.backbone:
        network["backbone"] = AutoConfig.from_pretrained(args.backbone, trust_remote_code=False).to_dict()
    system = SYSTEMS[args.system]
    model = system.model(system.config(**{**network, **args.network}))
    if args.backbone:
        model.begin_with(args.backbone)
    return model


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that ends a reply: BERT's tokenizer has one under another name. It becomes its eos_token."""
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    return int(tokenizer.eos_token_id)


def examples_of(rows: Iterable[Mapping[str, Any]]) -> Iterator[Example]:
    """Yield each reply of msl rows with what was said before it."""
    for row in rows:
        for i, message in enumerate(row["completion"]):
            if message["role"] == "assistant":
                known = known_of([*row["prompt"], *row["completion"][:i]])
                yield Example(row["person_id"], known, message["content"])


def with_denials(examples: Iterable[Example], data: DataArguments) -> list[Example]:
    """Return the examples, each with a text that denies the profile beside its reply, if there is one: the criterion
    reply of the kind inconsistency, which those few replies have that state something."""
    options = {key: value for key, value in parse_options(data.dataset_options).items() if key != "reply"}
    options["criterion_type"] = "inconsistency"
    rows = replace(data, dataset_options=options, max_rows=None).load("dpoc", data.train_split)
    denials = {
        (row["person_id"], row["prompt"][-1]["content"], row["chosen"][0]["content"]): row["criterion"][0]["content"]
        for row in rows
    }
    return [
        replace(example, denial=denials.get((example.person_id, example.known.turns[-1], example.reply), ""))
        for example in examples
    ]


def exchanges_of(examples: Iterable[Example]) -> dict[str, list[Exchange]]:
    """Return what each person answered to what, each exchange once."""
    people: dict[str, dict[Exchange, None]] = defaultdict(dict)
    for example in examples:
        people[example.person_id][Exchange(example.known.turns[-1], example.reply)] = None
    return {person: list(own) for person, own in people.items()}
