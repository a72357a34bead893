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
    their whole dialogue is left out, for a conversation with a hole in it is another conversation."""
    log = log or ErrorLog()
    name = Path(path).stem
    for first_line, lines in _blocks(path, log):
        profile: list[str] = []
        turns: list[Turn] = []
        for offset, text in enumerate(lines):
            if text.startswith(_OWN):
                profile.append(text[len(_OWN) :].strip())
            elif not text.startswith(_PARTNER):
                found = _turns(text)
                if found is None:
                    problem = f"Expected 'partner<TAB>self', with or without candidates, found {text[:80]!r}."
                    log.report(path, first_line + offset, problem)
                    turns = []
                    break
                turns += found
        if turns:
            yield Dialogue("", f"{name}-{first_line}", tuple(turns), tuple(profile), f"{Path(path).name}:{first_line}")


def _blocks(path: str | Path, log: ErrorLog) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, texts without their number) of each dialogue whose numbering is sound."""
    block: list[str] = []
    first, sound = 1, True
    with open(path, "rb") as lines:
        for position, raw in enumerate(lines, start=1):
            try:
                number, _, text = raw.decode("utf-8").rstrip("\r\n").partition(" ")
            except UnicodeDecodeError as error:
                log.report(path, position, f"Expected UTF-8 text, found the byte {raw[error.start]:#x}.")
                number, text, sound = str(len(block) + 1), "", False
            if number == "1":
                if block and sound:
                    yield first, block
                block, first, sound = [], position, True
            if number != str(len(block) + 1):
                if sound:
                    log.report(path, position, f"Expected line number {len(block) + 1} or 1, found {number[:20]!r}.")
                sound = False
            block.append(text)
    if block and sound:
        yield first, block


def _turns(text: str) -> list[Turn] | None:
    partner, *rest = text.split("\t")
    if len(rest) not in (1, 3) or not partner.strip() or not rest[0].strip():
        return None
    reply = rest[0].strip()
    candidates = tuple(c.strip() for c in rest[2].split("|") if c.strip() not in ("", reply)) if len(rest) == 3 else ()
    said = [] if partner.strip() == SILENCE else [Turn("partner", partner.strip())]
    return [*said, Turn("self", reply, candidates)]


def group_persons(dialogues: Sequence[Dialogue], person: str = "persona") -> list[Dialogue]:
    """The dialogues with their person_id.

    "persona": profiles that share two sentences are one person, since each crowd worker saw a random part of one
    persona (957 personas in train, median 19 dialogues). "profile": the exact set of sentences.
    """
    if person not in ("persona", "profile"):
        raise ValueError(f"person={person!r} is unknown. The valid values are: 'persona', 'profile'.")
    profiles = [tuple(sorted(set(dialogue.profile))) for dialogue in dialogues]
    for dialogue, profile in zip(dialogues, profiles, strict=True):
        if not profile:
            raise CorpusError(f"{dialogue.source}: The dialogue has no 'your persona' line to know its person by.")
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
    dialogues = list(read_dialogues(path, log))
    split, side, *_ = Path(path).name.split("_")
    if side not in ("other", "none") or not dialogues:
        return dialogues
    siblings = [
        Path(path).with_name(f"{split}_{name}_original{end}.txt")
        for name in ("self", "both")
        for end in ("", "_no_cands")
    ]
    sibling = next((candidate for candidate in siblings if candidate.is_file()), None)
    if sibling is None:
        raise CorpusError(
            f"{path}: This variant does not say who speaks. Expected one of {', '.join(file.name for file in siblings)} "
            "beside it, which holds the same dialogues with the persons' profiles."
        )
    others = list(read_dialogues(sibling, log))
    if [dialogue.texts("self") for dialogue in dialogues] != [dialogue.texts("self") for dialogue in others]:
        raise CorpusError(f"{path}: Expected the same dialogues in {sibling}, found different ones.")
    return [replace(mine, profile=other.profile) for mine, other in zip(dialogues, others, strict=True)]
