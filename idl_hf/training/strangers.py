"""The rows of the contrast: each dialogue as its person's references introduce it, and as those of strangers do."""

from dataclasses import replace

from datasets import Dataset, concatenate_datasets

from idl_hf.rows.arguments import parse_options
from idl_hf.training.data import DataArguments, dialogues_of


def load_beside_strangers(data: DataArguments, split: str) -> Dataset:
    """Return the msl rows of a split, and after them the same dialogues with the references of strangers.

    Raises ValueError where the rows show no references of the person.
    """
    options = parse_options(data.dataset_options)
    shown = options.get("conditioning", "references")
    if shown not in ("references", "out_of_cluster", "random") or options.get("references") == 0:
        raise ValueError(
            "The contrast is between the person's references and those of strangers, and these rows show none of the "
            f"person: conditioning={shown!r}, references={options.get('references', 'the default')}. Leave both out."
        )
    own = data.load("msl", split)
    others = replace(data, dataset_options={**options, "conditioning": "strangers"}, max_rows=None)
    strangers = others.load("msl", split.partition("[")[0])  # a slice would be one of these rows
    wanted = set(zip(own["person_id"], own["dialogue_id"], strict=True))
    ids = zip(strangers["person_id"], strangers["dialogue_id"], strict=True)
    return concatenate_datasets([own, strangers.select([place for place, key in enumerate(ids) if key in wanted])])


def gather_strangers(rows: Dataset) -> Dataset:
    """Return one row for each dialogue, the first there is of it, with the prompts of the others as `strangers`.

    Raises ValueError where a dialogue has none.
    """
    dialogues = dialogues_of(rows)
    prompts = rows["prompt"][:]
    for own, *others in dialogues:
        if not others:
            row = rows[own]
            raise ValueError(
                f"Dialogue '{row['dialogue_id']}' of '{row['person_id']}' has no row with a stranger's references. "
                "Build both kinds of rows with the same options."
            )
    own_rows = rows.select([own for own, *_ in dialogues])

    def add(row: dict, place: int) -> dict:
        return {"strangers": [prompts[other] for other in dialogues[place][1:]]}

    return own_rows.map(add, with_indices=True, desc="Gathering strangers")
