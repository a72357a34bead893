"""Your own dialogues as rows: load_dataset("idl_hf/dialogues_idl", "sessions" | "msl" | "dpoc", data_dir="<folder>").

The folder holds train.jsonl and, if there is one, validation.jsonl and test.jsonl; see idl_hf.corpora.jsonl for a
line. Keep each person in one split only, so that what is measured is the ability to take on somebody new. A person of
train.jsonl whose validation.jsonl or test.jsonl holds further dialogues has references from train.jsonl there: what is
measured then is how much of the person is known from the dialogues that were trained on.
"""

from idl_hf.corpora import jsonl
from idl_hf.corpora.errors import ErrorLog
from idl_hf.corpora.files import find_splits
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


class DialoguesIdl(IDLBuilder):
    """Builder of the rows of your own dialogues."""

    BUILDER_CONFIGS = IDLBuilder.configs(IDLConfig)
    REFERS_TO_TRAINING = True  # an id is one person in all files of a folder of one's own
    DESCRIPTION = "Dialogues of your own, as JSON Lines."

    def split_files(self, folder: str, config: IDLConfig) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""
        return find_splits(folder, lambda split: [f"{split}.jsonl"], "train.jsonl, validation.jsonl or test.jsonl")

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""
        seen: dict[tuple[str, str], str] = {}
        return [dialogue for file in files for dialogue in jsonl.read_dialogues(file, log, seen)]
