"""LIGHT as rows: load_dataset("idl_hf/light_idl", "sessions" | "msl" | "dpoc").

Candidates are in ParlAI's text export only (data_dir with speech_train.txt, ...), not in the pickles it downloads.
"""

from idl_hf.corpora import light
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


class LightIdl(IDLBuilder):
    """Builder of LIGHT's rows."""

    BUILDER_CONFIGS = IDLBuilder.configs(IDLConfig)
    DESCRIPTION = (
        "LIGHT: crowd workers play two characters of a fantasy text adventure, each with a name and a persona of a "
        "few sentences. Every dialogue is there from both sides, and the person is the character whose replies are "
        "predicted: same name and persona, same person. What they do besides talking is left out. Papers report on "
        "test, drawn from the same scenarios as train, and test_unseen, whose scenarios are not in train."
    )
    HOMEPAGE = "https://parl.ai/projects/light/"
    LICENSE = "None stated for the data. ParlAI, which publishes them, is under the MIT licence."
    CITATION = """\
@inproceedings{urbanek2019light, title = {Learning to Speak and Act in a Fantasy Text Adventure Game},
  author = {Urbanek, Jack and Fan, Angela and Karamcheti, Siddharth and Jain, Saachi and Humeau, Samuel and Dinan,
    Emily and Rockt{\\"a}schel, Tim and Kiela, Douwe and Szlam, Arthur and Weston, Jason},
  booktitle = {Proceedings of EMNLP-IJCNLP}, pages = {673--683}, year = {2019}}
"""
    URL = "http://parl.ai/downloads/light/"
    DOWNLOADS = (  # the second sum as in ParlAI's light_dialog/build.py
        (URL + light.SEEN, "7c83cf49818586db9999ea67a4a6ad087afbd91c26ed629a9f00e21d0b84058f"),
        (URL + light.UNSEEN, "489b98d08dd94eaf1ba95439d04200ccc54623ade056839f87a5c4207bc5699c"),
    )

    def split_files(self, folder: str, config: IDLConfig) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""
        return light.split_files(folder)

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""
        return [dialogue for file in files for dialogue in light.read_split(file, split, log)]

    def unpack(self, files: dict[str, str], folder: str) -> str:
        """Return the folder with both pickles under the names they are published under."""
        return light.gather(files, folder)
