"""Multi-Session Chat as rows: load_dataset("idl_hf/msc_idl", "sessions" | "msl" | "dpoc")."""

from idl_hf.corpora import msc
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


class MscIdl(IDLBuilder):
    """Builder of Multi-Session Chat's rows."""

    BUILDER_CONFIGS = IDLBuilder.configs(IDLConfig)
    DESCRIPTION = (
        "Multi-Session Chat: two people who meet again for up to five sessions, hours or days apart; the first is a "
        "dialogue of ConvAI2. Each of the two in turn is the person, each session a dialogue, its profile what was "
        "known of the person when it began. Not a corpus of the In-Dialogue Learning paper; its authors' commands "
        "evaluate on the validation split."
    )
    HOMEPAGE = "https://parl.ai/projects/msc/"
    LICENSE = (
        "None stated with the data; CC BY according to ParlAI's maintainers (facebookresearch/ParlAI, issue 5000)"
    )
    CITATION = """\
@inproceedings{xu2022beyond, title = {Beyond Goldfish Memory: Long-Term Open-Domain Conversation},
  author = {Xu, Jing and Szlam, Arthur and Weston, Jason},
  booktitle = {Proceedings of the 60th Annual Meeting of the Association for Computational Linguistics (Volume 1: Long
    Papers)}, pages = {5180--5197}, year = {2022}}
"""
    SHA256 = "e640e37cf4317cd09fc02a4cd57ef130a185f23635f4003b0cee341ffcb45e60"  # as in ParlAI's tasks/msc/build.py
    DOWNLOADS = (("http://parl.ai/downloads/msc/msc_v0.1.tar.gz", SHA256),)

    def split_files(self, folder: str, config: IDLConfig) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""
        return msc.split_files(folder)

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""
        return list(msc.read_dialogues(files, log))
