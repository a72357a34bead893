"""ConvAI2 (PersonaChat) as In-Dialogue Learning rows: load_dataset("idl_hf/convai2_idl", "sessions" | "msl" | "dpoc")."""

from dataclasses import dataclass

from idl_hf.corpora import convai2
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


@dataclass(eq=False)
class Convai2Config(IDLConfig):
    variant: str = "self_original"  # whose profile is given, and in which wording
    person: str = "persona"  # or "profile": only dialogues with the very same profile are one person's


class Convai2Idl(IDLBuilder):
    BUILDER_CONFIG_CLASS = Convai2Config
    BUILDER_CONFIGS = IDLBuilder.configs(Convai2Config)
    DESCRIPTION = (
        "ConvAI2: small talk of crowd workers who play a persona of four or five sentences. The person is the side whose "
        "replies are predicted; each persona occurs in many dialogues. The paper reports on the validation split."
    )
    HOMEPAGE = "https://parl.ai/projects/convai2/"
    LICENSE = "CC BY 4.0"
    CITATION = """\
@incollection{dinan2020convai2,
  title = {The Second Conversational Intelligence Challenge (ConvAI2)},
  author = {Dinan, Emily and Logacheva, Varvara and Malykh, Valentin and Miller, Alexander and Shuster, Kurt and others},
  booktitle = {The NeurIPS '18 Competition},
  year = {2020},
}
"""
    DOWNLOADS = (
        (
            "http://parl.ai/downloads/convai2/convai2_fix_723.tgz",
            "d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d",
        ),
    )

    def split_files(self, folder: str, config: Convai2Config) -> dict[str, list[str]]:
        return convai2.split_files(folder, config.variant)

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        dialogues = [dialogue for file in files for dialogue in convai2.read_with_profiles(file, log)]
        return convai2.group_persons(dialogues, self.config.person, log)
