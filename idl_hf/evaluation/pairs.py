"""The pairs of replies of a human evaluation: two systems' replies to the same conversations, spread over people."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from datasets import Dataset

from idl_hf.cache import Cache
from idl_hf.evaluation.data import DialogueKey, EvaluationData, keys_of
from idl_hf.evaluation.measured_model import MeasuredModel
from idl_hf.evaluation.ratings import Pair
from idl_hf.evaluation.reply_file import GivenReply, read_replies
from idl_hf.evaluation.targets import Target, match, targets_of
from idl_hf.prompting import SILENCE, split_prompt
from idl_hf.schema import Message, Turn, plain
from idl_hf.training.data import fit_rows

_T = TypeVar("_T")


class Pairs(NamedTuple):
    """Pairs, and what is to be said of how they were chosen."""

    pairs: list[Pair]
    notes: list[str]


def make_pairs(
    systems: tuple[str, str],
    data: EvaluationData,
    count: int,
    max_new_tokens: int,
    cache: Cache,
    chat_template: str | None = None,
    prompts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Pairs:
    """Return so many pairs, or as many as there are, spread over people and then over their dialogues.

    systems: each a file of replies, or a model or adapter as `load_model` takes it. cache: of what models write, so
    that an interrupted run goes on. prompts: the row options of a model's own prompts, by system; raters see whole
    past dialogues whatever it is. Raises ValueError where there is nothing that both reply to.
    """
    files = {name: read_replies(Path(name)) for name in systems if Path(name).is_file()}
    made = {name: {"conditioning": "references", **(prompts or {}).get(name, {})} for name in systems}
    own = {name: data.rows(**options) for name, options in made.items() if name not in files}
    asked = data.rows("references", reference_turns="all")
    in_all = set(keys_of(asked)).intersection(*map(keys_of, own.values()))
    targets, notes, texts = [target for target in targets_of(asked, data) if target.dialogue in in_all], [], {}
    for name, given in files.items():
        texts[name] = _texts(targets, name, given, data)
        targets = [target for target in targets if target in texts[name]]
        if lost := len(given) - len(targets):
            notes.append(
                f"{lost} of the {len(given)} replies in '{name}' are to nothing that both systems can be asked."
            )
    chosen = spread_over_people(targets, count)
    replies = [
        [texts[name][target] for target in chosen]
        if name in texts
        else _written(name, own[name], data.max_prompt_tokens, chosen, max_new_tokens, cache, chat_template)
        for name in systems
    ]
    shown = _by_dialogue(_of(asked, chosen))
    both = zip(chosen, *replies, strict=True)
    return Pairs([_pair(target, shown[target.dialogue], (one, other)) for target, one, other in both], notes)


def _texts(
    targets: Sequence[Target], name: str, given: Sequence[GivenReply], data: EvaluationData
) -> dict[Target, str]:
    """Return what a file replies to those of the targets that it has a reply to."""
    matched = match(given, targets)
    for twice in matched.double:
        raise ValueError(
            f"{name}:{twice.line}: The file has two replies to turn {twice.turn} of '{twice.dialogue_id[:80]}'. Leave "
            "one of them."
        )
    for unclear in matched.unclear:
        raise ValueError(
            f"Turn {unclear.turn} of '{unclear.dialogue_id}' in '{name}' is one of several people in the {data.split} "
            "split, each with a dialogue of that name. Give each line its person_id."
        )
    if not matched.replies:
        some = ", ".join(f"turn {reply.turn} of '{reply.dialogue_id}'" for reply in given[:2])
        raise ValueError(
            f"'{name}' has no reply that can be judged: none of its {len(given)} ({some} ...) stands where a person "
            f"of the {data.split} split of {data.dataset_name} replies in a dialogue with others to refer to. `turn` "
            "is the number of the turn, from 0."
        )
    return {target: reply.text for target, reply in matched.replies.items()}


def spread_over_people(targets: Sequence[Target], count: int, seed: int = 0) -> list[Target]:
    """Return so many targets: one of each person in turn, and of a person one of each dialogue in turn, at random."""
    drawn = [targets[place] for place in np.random.default_rng(seed).permutation(len(targets))]
    people: dict[str, dict[str, list[Target]]] = {}
    for target in drawn:
        people.setdefault(target.dialogue.person_id, {}).setdefault(target.dialogue.dialogue_id, []).append(target)
    return _in_turn(_in_turn(dialogues.values()) for dialogues in people.values())[:count]


def _in_turn(lists: Iterable[Sequence[_T]]) -> list[_T]:
    """Return the first of each list, then the second of each, and so on."""
    return [entry for layer in zip_longest(*lists) for entry in layer if entry is not None]


def _written(
    name: str,
    rows: Dataset,
    max_prompt_tokens: int,
    chosen: Sequence[Target],
    max_new_tokens: int,
    cache: Cache,
    chat_template: str | None,
) -> list[str]:
    """Return what a model replies, with the conversation before as it really went."""
    model = MeasuredModel(name, cache, chat_template=chat_template)
    positions = model.positions and model.positions - max_new_tokens
    by_dialogue = _by_dialogue(fit_rows(_of(rows, chosen), model.tokenizer, max_prompt_tokens, positions))
    prompts = [
        [*by_dialogue[target.dialogue]["prompt"], *_said(by_dialogue[target.dialogue], target)] for target in chosen
    ]
    return model.replies(prompts, max_new_tokens, name)


def _of(rows: Dataset, targets: Iterable[Target]) -> Dataset:
    """Return the rows of the dialogues that the targets are in."""
    dialogues = {target.dialogue for target in targets}
    return rows.select([place for place, key in enumerate(keys_of(rows)) if key in dialogues])


def _by_dialogue(rows: Dataset) -> dict[DialogueKey, Mapping[str, Any]]:
    return dict(zip(keys_of(rows), rows, strict=True))


def _said(row: Mapping[str, list[Message]], target: Target) -> list[Message]:
    """Return what follows the prompt of a row before the target's reply."""
    replies = [place for place, message in enumerate(row["completion"]) if message["role"] == "assistant"]
    return row["completion"][: replies[target.reply]]


def _pair(target: Target, row: Mapping, replies: tuple[str, str]) -> Pair:
    *past, context = split_prompt(row["prompt"], row["dialogue_starts"])
    context = [*context, *_said(row, target)]
    first, second = map(as_judged, replies)
    return Pair(*target.dialogue, target.turn, tuple(map(_turns, past)), _turns(context), (first, second))


def as_judged(reply: str) -> str:
    """Return a reply as raters see it: whoever wrote it, with one kind of apostrophe and space and nothing unseen."""
    return plain(reply).strip()


def _turns(messages: Iterable[Message]) -> tuple[Turn, ...]:
    """Return messages as the turns of a person and their partner, without a partner who says nothing."""
    roles = {"user": "partner", "assistant": "self"}
    return tuple(Turn(roles[m["role"]], m["content"]) for m in messages if m["content"] != SILENCE)  # type: ignore[arg-type]
