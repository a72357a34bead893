"""Cornell Movie-Dialogs as rows: load_dataset("idl_hf/movie_idl", "sessions" | "msl" | "dpoc")."""

from idl_hf.corpora import cornell_movie
from idl_hf.corpora.errors import ErrorLog
from idl_hf.rows.builder import IDLBuilder, IDLConfig
from idl_hf.schema import Dialogue


class MovieIdl(IDLBuilder):
    """Builder of Cornell Movie-Dialogs' rows."""

    BUILDER_CONFIGS = IDLBuilder.configs(IDLConfig)
    DESCRIPTION = (
        "Cornell Movie-Dialogs: conversations of two characters out of movie scripts. Each of the two in turn is the "
        "person, known by the character's id; there are no profiles and no candidates. The corpus has no splits: here "
        "a movie with all its characters is in one, by the crc32 of its id (about 10 % validation, 10 % test). The "
        "paper tests models that were trained on ConvAI2 on this corpus and names no split."
    )
    HOMEPAGE = "https://www.cs.cornell.edu/~cristian/Cornell_Movie-Dialogs_Corpus.html"
    LICENSE = "None stated; given out for research, with the request to cite the paper"
    CITATION = """\
@inproceedings{danescu2011chameleons,
  title = {Chameleons in Imagined Conversations: A New Approach to Understanding Coordination of Linguistic Style in
    Dialogs}, author = {Danescu-Niculescu-Mizil, Cristian and Lee, Lillian},
  booktitle = {Proceedings of the 2nd Workshop on Cognitive Modeling and Computational Linguistics, ACL 2011},
  year = {2011}}
"""
    SHA256 = "ae77ab2e4743ce929087a4f529934059b920c4bdaa3143741b65b1e648ab45fd"
    DOWNLOADS = (("http://parl.ai/downloads/cornell_movie/cornell_movie_dialogs_corpus.tgz", SHA256),)

    def split_files(self, folder: str, config: IDLConfig) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""
        return cornell_movie.split_files(folder)

    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""
        return list(cornell_movie.read_dialogues(files, split, log))
