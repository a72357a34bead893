"""ConvAI2 (Dinan et al., 2020) in ParlAI's text format, all variants: self, other, both, none; original, revised.

A dialogue starts where the line number is back at 1. Lines are `N your persona: ...`, `N partner's persona: ...`, then
`N partner<TAB>self`, with candidates `N partner<TAB>self<TAB><TAB>c1|...|c20`. The person is the speaker of the second column.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import find_splits
from idl_hf.prompting import SILENCE
from idl_hf.schema import Dialogue, Turn

VARIANTS = (
    "self_original", "self_revised", "other_original", "other_revised", "both_original", "both_revised", "none_original",
)  # fmt: skip
_OWN = "your persona: "
_PARTNER = "partner's persona: "


def read_dialogues(path: str | Path, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Dialogues in file order; person_id is empty until `group_persons`. Malformed lines are reported to `log` and
    their whole dialogue is left out, for a conversation with a hole in it is another conversation.

    dialogue_id counts the dialogues of the file, those left out too, so that it is the same in all variants.
    """
    log = log or ErrorLog()
    for number, (first_line, lines) in enumerate(_blocks(path, log), start=1):
        parsed = _parse(path, lines, log) if lines else None
        if parsed is not None:
            profile, turns = parsed
            yield Dialogue("", f"dialogue-{number}", turns, profile, f"{Path(path).name}:{first_line}")


def _parse(
    path: str | Path, lines: list[tuple[int, str]], log: ErrorLog
) -> tuple[tuple[str, ...], tuple[Turn, ...]] | None:
    profile: list[str] = []
    turns: list[Turn] = []
    for position, text in lines:
        if text.startswith(_OWN):
            profile += [text[len(_OWN) :].strip()] if text[len(_OWN) :].strip() else []
        elif not text.startswith(_PARTNER):
            found = _turns(text)
            if found is None:
                problem = f"Expected 'partner<TAB>self', with or without candidates, found {text[:80]!r}."
                log.report(path, position, problem)
                return None
            turns += found
    if not turns:
        log.report(path, lines[0][0], "Expected a dialogue, found persona lines only.")
        return None
    return tuple(profile), tuple(turns)


def _blocks(path: str | Path, log: ErrorLog) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """(first line, its (line, text without number)) of each dialogue; no texts where the numbering or the encoding is
    broken, which is reported."""
    block: list[tuple[int, str]] = []
    first, length, sound = 1, 0, True
    with open(path, "rb") as lines:
        for position, raw in enumerate(lines, start=1):
            raw = raw.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n")
            if not raw.strip():
                continue
            head, _, rest = raw.partition(b" ")
            if head == b"1" and length:
                yield first, block if sound else []
                block, length, sound = [], 0, True
            first = position if length == 0 else first
            length += 1
            try:
                block.append((position, rest.decode()))
            except UnicodeDecodeError as error:
                if sound:
                    log.report(path, position, f"Expected UTF-8 text, found the byte {rest[error.start]:#x}.")
                sound = False
            if sound and head != str(length).encode():
                expected = "1" if length == 1 else f"{length} or 1"
                shown = head[:20].decode(errors="replace")
                log.report(path, position, f"Expected line number {expected}, found {shown!r}.")
                sound = False
    if length:
        yield first, block if sound else []


def _turns(text: str) -> list[Turn] | None:
    partner, *rest = text.split("\t")
    if len(rest) not in (1, 3) or not partner.strip() or not rest[0].strip():
        return None
    reply = rest[0].strip()
    candidates = tuple(c.strip() for c in rest[2].split("|") if c.strip() not in ("", reply)) if len(rest) == 3 else ()
    said = [] if partner.strip() == SILENCE else [Turn("partner", partner.strip())]
    return [*said, Turn("self", reply, candidates)]


def group_persons(
    dialogues: Sequence[Dialogue], person: str = "persona", log: ErrorLog | None = None
) -> list[Dialogue]:
    """The dialogues with their person_id; one without any profile is reported to `log` and left out.

    "persona": profiles that share two sentences are one person, since each crowd worker saw a random part of one
    persona (957 personas in train, median 19 dialogues). "profile": the exact set of sentences.
    """
    if person not in ("persona", "profile"):
        raise ValueError(f"person={person!r} is unknown. The valid values are: 'persona', 'profile'.")
    log = log or ErrorLog()
    for dialogue in dialogues:
        if not dialogue.profile:
            file, _, line = dialogue.source.rpartition(":")
            log.report(file, int(line or 0), "Expected a 'your persona' line to know the person by.")
    dialogues = [dialogue for dialogue in dialogues if dialogue.profile]
    profiles = [tuple(sorted(set(dialogue.profile))) for dialogue in dialogues]
    groups = _merge_profiles(set(profiles)) if person == "persona" else {profile: profile for profile in profiles}
    return [
        replace(dialogue, person_id=hashlib.sha1("\n".join(groups[profile]).encode()).hexdigest()[:12])
        for dialogue, profile in zip(dialogues, profiles, strict=True)
    ]


def _merge_profiles(profiles: set[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Each profile's persona, as all of its sentences. Union-find over the pairs of sentences that a profile holds."""
    parent = {profile: profile for profile in profiles}

    def root(profile: tuple[str, ...]) -> tuple[str, ...]:
        while parent[profile] != profile:
            parent[profile] = parent[parent[profile]]
            profile = parent[profile]
        return profile

    holder: dict[tuple[str, str], tuple[str, ...]] = {}
    for profile in sorted(profiles):
        for pair in combinations(profile, 2):
            parent[root(profile)] = root(holder.setdefault(pair, profile))
    sentences: dict[tuple[str, ...], set[str]] = {}
    for profile in profiles:
        sentences.setdefault(root(profile), set()).update(profile)
    return {profile: tuple(sorted(sentences[root(profile)])) for profile in profiles}


def split_files(folder: str | Path, variant: str = "self_original") -> dict[str, list[str]]:
    """The files of a variant in a folder; with candidates if they are there. The archive's subfolder is found too."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown. The valid values are: {', '.join(VARIANTS)}.")
    names = (f"{variant}.txt", f"{variant}_no_cands.txt")
    return find_splits(
        folder,
        lambda split: [f"{below}{split}_{name}" for name in names for below in ("", "ConvAI2/", "convai2/")],
        f"ConvAI2's files train_{names[0]} or train_{names[1]}, valid_{names[0]} or valid_{names[1]}",
    )


def read_with_profiles(path: str | Path, log: ErrorLog | None = None) -> list[Dialogue]:
    """All dialogues of a file. The variants without own profiles (other_*, none_*) take them from the file of the same
    dialogues that has them, which must lie beside it."""
    log = log or ErrorLog()
    dialogues = list(read_dialogues(path, log))
    split, _, variant = Path(path).name.partition("_")
    if not variant.startswith(("other_", "none_")):
        return dialogues
    names = [f"{split}_{side}_original{end}.txt" for side in ("self", "both") for end in ("", "_no_cands")]
    sibling = next((file for name in names if (file := Path(path).with_name(name)).is_file()), None)
    if sibling is None:
        raise CorpusError(
            f"{path}: This variant does not say who speaks. Expected one of {', '.join(names)} beside it, which holds the "
            "same dialogues with the persons' profiles."
        )
    beside = ErrorLog(log.on_error)  # what is lost there is counted below, where its profile is missing
    profiles = {other.dialogue_id: other for other in read_dialogues(sibling, beside)}
    log.messages += beside.messages
    found = []
    for mine in dialogues:
        other = profiles.get(mine.dialogue_id)
        if other is None or other.texts("self") != mine.texts("self"):
            line = int(mine.source.rpartition(":")[2])
            log.report(path, line, f"Expected the same dialogue as number {mine.dialogue_id[9:]} of {sibling.name}.")
        else:
            found.append(replace(mine, profile=other.profile))
    return found
