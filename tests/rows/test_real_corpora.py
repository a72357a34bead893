"""Each corpus makes all three configs from its real files, and every dialogue is in a row or counted as left out."""

import re

import pytest
from datasets import load_dataset

import idl_hf  # noqa: F401 (registers the datasets)

# Corpus, folder of the shared data, options it needs there
CORPORA = [
    ("convai2_idl", "convai2", {}),
    ("movie_idl", "cornell", {"on_error": "skip"}),  # one movie of the sample is cut off in the middle
    ("light_idl", "light", {"references": 0}),  # two people with a dialogue each
    ("msc_idl", "msc", {}),
]


def counts(description: str, split: str) -> tuple[int, int]:
    """Return (dialogues read, dialogues left out), as the dataset info has them."""
    (read,) = re.findall(rf"^Read of {split}: (\d+) dialogues", description, re.MULTILINE)
    left_out = re.findall(rf"^Left out of {split}: (\d+) x dialogue ", description, re.MULTILINE)
    return int(read), sum(map(int, left_out))


def shown(rows) -> set[tuple[str, str]]:
    names = {(row["person_id"], row["dialogue_id"]) for row in rows}
    references = rows["reference_ids"] if "reference_ids" in rows.column_names else []
    return names | {(person, name) for person, own in zip(rows["person_id"], references, strict=False) for name in own}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("corpus", "folder", "options"), CORPORA, ids=[corpus for corpus, _, _ in CORPORA])
def test_every_real_dialogue_is_shown_or_counted_as_left_out(shared, corpus, folder, options):
    for config in ("sessions", "msl", "dpoc"):
        made = load_dataset(
            f"idl_hf/{corpus}", config, data_dir=str(shared / "data" / folder), encoder="offline", **options
        )
        assert made, (corpus, config)
        for split, rows in made.items():
            read, left_out = counts(rows.info.description, split)
            assert len(rows) > 0
            assert read == len(shown(rows)) + left_out, (corpus, config, split, rows.info.description)
