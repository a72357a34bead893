"""Replies of people that systems reply instead of: which these are, and which of them a file of replies is to."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from datasets import Dataset

from idl_hf.evaluation.data import DialogueKey, EvaluationData, Spoken, keys_of
from idl_hf.evaluation.reply_file import GivenReply


class Target(NamedTuple):
    """A reply of a person that systems reply instead of."""

    dialogue: DialogueKey
    reply: int  # which of the person's in the dialogue, counted from the last, -1
    turn: int  # of the dialogue, at which it begins


class Matched(NamedTuple):
    """The replies of a file by their target, and those that are to none, in the order of the file."""

    replies: dict[Target, GivenReply]
    double: list[GivenReply]  # to what an earlier line replies to
    unclear: list[GivenReply]  # to one of several people, without the person_id
    foreign: list[GivenReply]


def targets_of(rows: Dataset, data: EvaluationData) -> list[Target]:
    """Return each reply in the completions of rows, in their order."""
    spoken = data.spoken()
    targets = []
    for key, completion in zip(keys_of(rows), rows["completion"], strict=True):
        count = sum(message["role"] == "assistant" for message in completion)
        targets += targets_in(key, spoken[key])[-count:]
    return targets


def targets_in(key: DialogueKey, spoken: Sequence[Spoken]) -> list[Target]:
    """Return each reply of a dialogue."""
    return [Target(key, number - len(spoken), reply.turn) for number, reply in enumerate(spoken)]


def match(given: Iterable[GivenReply], targets: Sequence[Target]) -> Matched:
    """Return which of the targets the replies of a file are to."""
    at: dict[tuple[str, int], list[Target]] = defaultdict(list)
    for target in targets:
        at[target.dialogue.dialogue_id, target.turn].append(target)
    matched = Matched({}, [], [], [])
    for reply in given:
        meant = at.get((reply.dialogue_id, reply.turn), [])
        if reply.person_id:
            meant = [target for target in meant if target.dialogue.person_id == reply.person_id]
        if not meant:
            matched.foreign.append(reply)
        elif len(meant) > 1:
            matched.unclear.append(reply)
        elif meant[0] in matched.replies:
            matched.double.append(reply)
        else:
            matched.replies[meant[0]] = reply
    return matched
