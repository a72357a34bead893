"""ConvAI2 (Dinan et al., 2020) in ParlAI's text format, all variants: self, other, both, none; original, revised.
A dialogue starts where the line number is back at 1. Lines are `N your persona: ...`, `N partner's persona: ...`, then
`N partner<TAB>self`, with candidates `N partner<TAB>self<TAB><TAB>c1|...|c20`. The person is the speaker of the second
column."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog, MalformedError
from idl_hf.corpora.files import find_splits, text_lines
from idl_hf.prompting import SILENCE
from idl_hf.schema import Dialogue, Turn

VARIANTS = (
    "self_original", "self_revised", "other_original", "other_revised",
    "both_original", "both_revised", "none_original",
)  # fmt: skip
_OWN = "your persona: "


def read_dialogues(path: str | Path, log: ErrorLog | None = None) -> Iterator[Dialogue]:
    """Yield the dialogues in file order; person_id is empty until `group_persons`. Malformed lines are reported to
    `log` and their whole dialogue is left out, for a conversation with a hole in it is another conversation.
    dialogue_id counts the dialogues of the file, those left out too, so that it is the same in all variants."""
    log = log or ErrorLog()
    for number, block in enumerate(_blocks(path), start=1):
        try:
            yield _parse(path, block, f"dialogue-{number}")
        except MalformedError as error:
            log.report(path, *error.args)


def _blocks(path: str | Path) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the numbered lines of each dialogue."""
    block: list[tuple[int, bytes]] = []
    for position, line in text_lines(path):
        if block and line.partition(b" ")[0] == b"1":
            yield block
            block = []
        block.append((position, line))
    if block:
        yield block


def _parse(path: str | Path, block: list[tuple[int, bytes]], dialogue_id: str) -> Dialogue:
    lines: list[tuple[int, str]] = []
    for count, (position, line) in enumerate(block, start=1):
        head, _, rest = line.partition(b" ")
        try:
            lines.append((position, rest.decode()))
        except UnicodeDecodeError as error:
            problem = f"Expected UTF-8 text, found the byte {rest[error.start]:#x}."
            raise MalformedError(position, problem) from error
        if head != str(count).encode():
            expected, shown = "1" if count == 1 else f"{count} or 1", head[:20].decode(errors="replace")
            raise MalformedError(position, f"Expected line number {expected}, found {shown!r}.")
    profile: list[str] = []
    turns: list[Turn] = []
    for position, text in lines:
        if text.startswith(_OWN):
            profile.append(text.removeprefix(_OWN).strip())
        elif not text.startswith("partner's persona: "):
            turns += _turns(position, text)
    if not turns:
        raise MalformedError(block[0][0], "Expected a dialogue, found persona lines only.")
    return Dialogue("", dialogue_id, tuple(turns), tuple(filter(None, profile)), f"{Path(path).name}:{block[0][0]}")


def _turns(line: int, text: str) -> list[Turn]:
    partner, *rest = (column.strip() for column in text.split("\t"))
    if len(rest) not in (1, 3) or not partner or not rest[0]:
        problem = f"Expected 'partner<TAB>self', with or without candidates, found {text[:80]!r}."
        raise MalformedError(line, problem)
    reply = rest[0]
    candidates = map(str.strip, rest[2].split("|") if len(rest) == 3 else ())
    own = Turn("self", reply, tuple(candidate for candidate in candidates if candidate not in ("", reply)))
    return [own] if partner == SILENCE else [Turn("partner", partner), own]


def group_persons(
    dialogues: Sequence[Dialogue], person: str = "persona", log: ErrorLog | None = None
) -> list[Dialogue]:
    """Return the dialogues with their person_id; one without any profile is reported to `log` and left out.
    "persona": profiles that share two sentences are one person, since each crowd worker saw a random part of one
    persona (957 personas in train, median 19 dialogues). "profile": the exact set of sentences."""
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
    """Return each profile's persona, as all of its sentences: union-find over the pairs that a profile holds."""
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
    """Return the files of each split in a folder or the archive's subfolder, with candidates if they are there."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown. The valid values are: {', '.join(VARIANTS)}.")
    names = (f"{variant}.txt", f"{variant}_no_cands.txt")
    return find_splits(
        folder,
        lambda split: [f"{below}{split}_{name}" for name in names for below in ("", "ConvAI2/", "convai2/")],
        f"ConvAI2's files train_{names[0]} or train_{names[1]}, valid_{names[0]} or valid_{names[1]}",
    )


def read_with_profiles(path: str | Path, log: ErrorLog | None = None) -> list[Dialogue]:
    """Return all dialogues of a file, with profiles. The variants without own profiles (other_*, none_*) take them
    from the file of the same dialogues that has them, which must lie beside it."""
    log = log or ErrorLog()
    dialogues = list(read_dialogues(path, log))
    if not _siblings(path):
        return dialogues
    sibling = sibling_of(path)
    if sibling is None:
        names = ", ".join(file.name for file in _siblings(path))
        raise CorpusError(
            f"{path}: This variant does not say who speaks. Expected one of {names} beside it, which holds the same "
            "dialogues with the persons' profiles."
        )
    beside = ErrorLog(log.on_error)  # what is lost there is counted below, where its profile is missing
    twins = {twin.dialogue_id: twin for twin in read_dialogues(sibling, beside)}
    log.messages += beside.messages
    profiled = []
    for dialogue in dialogues:
        number, twin = dialogue.dialogue_id.removeprefix("dialogue-"), twins.get(dialogue.dialogue_id)
        if twin is None or twin.texts("self") != dialogue.texts("self"):
            line = int(dialogue.source.rpartition(":")[2])
            log.report(path, line, f"Expected the same dialogue as number {number} of {sibling.name}.")
        else:
            profiled.append(replace(dialogue, profile=twin.profile))
    return profiled


def sibling_of(path: str | Path) -> Path | None:
    """Return the file beside one that does not say who speaks, which `read_with_profiles` takes the profiles from;
    None where there is none, or the file says it itself."""
    return next(filter(Path.is_file, _siblings(path)), None)


def _siblings(path: str | Path) -> list[Path]:
    split, _, variant = Path(path).name.partition("_")
    if not variant.startswith(("other_", "none_")):
        return []
    names = [f"{split}_{side}_original{end}.txt" for side in ("self", "both") for end in ("", "_no_cands")]
    return [Path(path).with_name(name) for name in names]
