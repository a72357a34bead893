"""What people are asked to judge: two systems, on how much of which dialogues, and the file of ratings for it.

Imports no torch, since a study that goes on needs no model.
"""

import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from idl_hf.arguments import option, refuse_less_than_one
from idl_hf.encoding import default_encoder
from idl_hf.evaluation.ratings import Study
from idl_hf.evaluation.ratings_file import RatingsFile, create, held
from idl_hf.rows.arguments import DATASET_HELP, OPTIONS_HELP, parse_options
from idl_hf.shown import visible

_MAX_NEW_TOKENS = 40  # of `idl-hf evaluate`


@dataclass
class JudgeArguments:
    """What to judge on the tab Judge, if anything."""

    judge_a: str | None = option(
        None, "First system: an adapter or model, or a file of replies, {dialogue_id, turn, text} a line."
    )
    judge_b: str | None = option(None, "Second system, such as the base model or another file of replies.")
    ratings: str | None = option(
        None, "File that ratings are saved in. One that is there goes on, without --judge_a and --judge_b."
    )
    items: int = option(50, "How many pairs of replies to judge, spread over people.")
    dataset_name: str = option("idl_hf/dialogues_idl", f"Of whose dialogues: {DATASET_HELP}")
    split: str = option("validation", "Split of the dialogues to reply in, of people whom no system trained on.")
    dataset_options: dict | str | None = option(None, OPTIONS_HELP)

    def __post_init__(self) -> None:
        systems = [self.judge_a, self.judge_b]
        if any(systems) and not all([*systems, self.ratings]):
            raise ValueError(
                "To judge, pass two systems and a file for the ratings: --judge_a ADAPTER --judge_b MODEL --ratings "
                "FILE. A study that was begun goes on with --ratings alone."
            )
        if self.judge_a and self.judge_a == self.judge_b:
            raise ValueError(f"--judge_a and --judge_b are both '{self.judge_a}'. Pass two systems.")
        refuse_less_than_one(items=self.items)


def open_ratings(
    args: JudgeArguments, data_dir: str | None = None, encoder: str | None = None, chat_template: str | None = None
) -> RatingsFile | None:
    """Return the file of ratings of a study that is begun or goes on, None where nothing is to be judged.

    chat_template: as `load_model` takes it.

    Both systems have replied to all before the first rater comes, so that no reply tells by its time whose it is.
    Raises ValueError for a file of another study, and for what cannot be judged.
    """
    if args.ratings is None:
        return None
    path = Path(args.ratings)
    goes_on = path.exists()
    if args.judge_a is not None and args.judge_b is not None and not goes_on:
        lock = held(path)  # for the minutes that it takes: who begins second must not replace what is rated by then
        try:
            if not (goes_on := path.exists()):
                _begin(path, (args.judge_a, args.judge_b), args, data_dir, encoder, chat_template)
        finally:
            lock.release()
    ratings = RatingsFile(path)
    systems = ratings.study.systems
    if args.judge_a is not None and (args.judge_a, args.judge_b) != systems:
        ratings.close()
        raise ValueError(
            f"'{path}' is of '{systems[0]}' against '{systems[1]}', not of '{args.judge_a}' against '{args.judge_b}'. "
            "Pass another --ratings, or leave --judge_a and --judge_b out to go on with it."
        )
    study = ratings.study
    identical = len(study.pairs) - len(study.asked)
    also = f"; {identical} more are identical replies, and count as ties" if identical else ""
    begun = "A study that was begun before" if goes_on else "A study"
    about = f"{begun}: {len(study.asked)} pairs of replies to judge{also}. Ratings are saved in '{path}'."
    print(visible(f"{about} Their report: idl-hf evaluate --human {shlex.quote(str(path))}"), flush=True)
    return ratings


def _begin(
    path: Path,
    systems: tuple[str, str],
    args: JudgeArguments,
    data_dir: str | None,
    encoder: str | None,
    chat_template: str | None,
) -> None:
    """Write the file of a new study. What models write is kept beside it until then, for a run that is interrupted."""
    from idl_hf.cache import Cache  # here, since `--help` would pay for them
    from idl_hf.evaluation.data import EvaluationData
    from idl_hf.evaluation.pairs import make_pairs
    from idl_hf.evaluation.prompts import prompt_budget, prompt_options
    from idl_hf.models.identity import load_recipe

    given = parse_options(args.dataset_options) | ({"encoder": encoder} if encoder else {})
    recipes = {name: load_recipe(name) for name in systems if not Path(name).is_file()}
    prompts = prompt_options(recipes, given)
    encoders = [options["encoder"] for options in prompts.values() if "encoder" in options]
    options = {"encoder": next(iter(encoders), default_encoder()), **given}
    data = EvaluationData(args.dataset_name, data_dir, args.split, prompt_budget(recipes), options)
    seed = secrets.randbits(32)  # so that nobody can work out which side is whose
    written = Cache(path.with_name(f".{path.name}.written.sqlite"))
    pairs, notes = make_pairs(systems, data, args.items, _MAX_NEW_TOKENS, written, chat_template, prompts)
    made_from = {
        "dataset_name": data.dataset_name,
        "data_dir": data.data_dir,
        "split": data.split,
        "options": dict(data.options),
        "prompts": [{"model": name, **options} for name, options in prompts.items()],
        "max_prompt_tokens": data.max_prompt_tokens,
        "max_new_tokens": _MAX_NEW_TOKENS,
        "chat_template": chat_template,
    }
    create(path, Study(systems, tuple(pairs), seed, made_from, tuple(notes)))
    written.path.unlink(missing_ok=True)
