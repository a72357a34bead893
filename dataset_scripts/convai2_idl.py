"""ConvAI2 (PersonaChat) as rows: load_dataset("idl_hf/convai2_idl", "sessions" | "msl" | "dpoc")."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from idl_hf.arguments import option
from idl_hf.corpora import convai2
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


@dataclass(eq=False)
class Convai2Config(IDLConfig):
    """A config of ConvAI2."""

    variant: str = option(
        "self_original",
        "ConvAI2: whose profile is given, and in which wording: "
        f"{', '.join(f'`{json.dumps(variant)}`' for variant in convai2.VARIANTS)}.",
        choices=convai2.VARIANTS,
    )
    person: str = option(
        "persona",
        'ConvAI2: who is one person: a `"persona"`, which is all profiles that share two sentences, or a `"profile"`.',
        choices=("persona", "profile"),
    )


class Convai2Idl(IDLBuilder):
    """Builder of ConvAI2's rows."""

    BUILDER_CONFIG_CLASS = Convai2Config
    BUILDER_CONFIGS = IDLBuilder.configs(Convai2Config)
    DESCRIPTION = (
        "ConvAI2: small talk of crowd workers who play a persona of four or five sentences. The person is the side "
        "whose replies are predicted; each persona occurs in many dialogues. The paper reports on the validation "
        "split."
    )
    HOMEPAGE = "https://parl.ai/projects/convai2/"
    LICENSE = "CC BY 4.0"
    CITATION = """\
@incollection{dinan2020convai2, title = {The Second Conversational Intelligence Challenge (ConvAI2)},
  author = {Dinan, Emily and Logacheva, Varvara and Malykh, Valentin and Miller, Alexander and Shuster, Kurt and
    others}, booktitle = {The NeurIPS '18 Competition}, year = {2020}}
"""
    SHA256 = "d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d"
    DOWNLOADS = (("http://parl.ai/downloads/convai2/convai2_fix_723.tgz", SHA256),)

    def split_files(self, folder: str, config: Convai2Config) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""
        return convai2.split_files(folder, config.variant)

    def files_beside(self, files: Sequence[str]) -> list[str]:
        """Return the files that say who speaks, of variants that do not."""
        return [str(sibling) for file in files if (sibling := convai2.sibling_of(file))]

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""
        dialogues = [dialogue for file in files for dialogue in convai2.read_with_profiles(file, log)]
        return convai2.group_persons(dialogues, self.config.person, log)
