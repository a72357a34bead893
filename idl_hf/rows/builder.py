"""The `datasets` builder that every script in dataset_scripts/ derives from.
Only plumbing: `datasets` replaces `open`, `os.path` and `Path` in this module and in the scripts (for streaming), so
whatever reads files or makes rows lives elsewhere."""

import glob
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import Any

import datasets
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.fingerprint import Hasher

from idl_hf.arguments import option
from idl_hf.corpora.errors import SKIP_ADVICE, CorpusError, ErrorLog
from idl_hf.corpora.files import check_sha256, contents_identity, each_once, local_files, unpack
from idl_hf.encoding import SentenceEncoder, default_encoder, encoder_identity
from idl_hf.models.offline import OFFLINE
from idl_hf.persona.extractor import PATTERNS, extractor_identity
from idl_hf.rows.generate import Row, RowBuilder
from idl_hf.rows.negatives import NOBODY, Negatives, draw_negatives, name_of, negatives_identity
from idl_hf.rows.options import AUTO, OF_OTHERS, PRESETS, RowOptions, option_names, with_preset
from idl_hf.rows.people import People
from idl_hf.rows.tally import Tally
from idl_hf.schema import CONFIGS, Dialogue, Person, features, group_by_person
from idl_hf.shown import without_paths

logger = datasets.logging.get_logger(__name__)
VERSION = datasets.Version("0.1.0")
_VERSIONS = ("idl-hf", "numpy", "scikit-learn", "sentence-transformers")  # of what shapes rows


@dataclass(eq=False)
class IDLConfig(datasets.BuilderConfig, RowOptions):
    """A config (sessions, msl, dpoc) with all options of the rows; scripts add their corpus's own."""

    version: datasets.Version = VERSION
    preset: str = option(
        "paper",
        '`"paper"`, or `"release"` for what the authors\' released code does, as far as it runs: '
        + ", ".join(f"`{name}={json.dumps(value)}`" for name, value in PRESETS["release"].items())
        + '; `"small_logs"` for rows of every reply of every dialogue, for a person with few; an option given by '
        "name wins.",
        choices=tuple(PRESETS),
    )
    on_error: str = option(
        "raise",
        'What to do at a malformed dialogue: `"raise"` an error, or `"skip"` and count it.',
        choices=("raise", "skip"),
    )

    def row_options(self) -> RowOptions:
        """Return the options that every corpus has."""
        return RowOptions(**{name: getattr(self, name) for name in option_names()})


@dataclass(frozen=True)
class Company:
    """Everyone whom the rows of a split take something from: its persons, those whose words stand for another
    person's, and the same persons as the training split has them, by person_id."""

    persons: tuple[Person, ...]
    negatives: Negatives = NOBODY
    past: Mapping[str, Person] = field(default_factory=dict)

    def about(self, split: str) -> list[str]:
        """Return a sentence for each thing that does not come from the split itself."""
        lines = []
        if self.negatives.name:
            lines.append(f"Other people's words in {split}: those of {self.negatives.name}.")
        if self.past:
            lines.append(f"References in {split}: training dialogues, of {len(self.past)} people who have any.")
        return lines


class IDLBuilder(datasets.GeneratorBasedBuilder):
    """Builder of a corpus's rows: subclasses set BUILDER_CONFIGS (see `configs`), `split_files` and `read_split`."""

    BUILDER_CONFIG_CLASS = IDLConfig
    DEFAULT_CONFIG_NAME = "msl"
    DEFAULT_WRITER_BATCH_SIZE = 200  # prompts are long
    # Whether a held-out dialogue of a person of the training split has its references from there. In a corpus a name
    # that occurs twice may be two people
    REFERS_TO_TRAINING = False

    # What a script says of its corpus
    DESCRIPTION = ""
    HOMEPAGE = ""
    LICENSE = ""
    CITATION = ""
    DOWNLOADS: tuple[tuple[str, str], ...] = ()  # (address, sha256) of what is published

    def __init__(
        self, *args: Any, data_dir: str | None = None, data_files: str | list | dict | None = None, **kwargs: Any
    ) -> None:
        self._check_option_names(kwargs)
        config_name = kwargs.get("config_name") or self.DEFAULT_CONFIG_NAME
        kwargs = with_preset(kwargs, self._option_names(), config_name)
        # Explicitly and with what it is made of, so that the cache tells encoders apart
        kwargs.setdefault("encoder", default_encoder())
        if isinstance(kwargs["encoder"], str) and kwargs["encoder"] != OFFLINE:
            kwargs["hash"] = Hasher.hash((kwargs.get("hash"), encoder_identity(kwargs["encoder"])))
        if kwargs.get("extractor", PATTERNS) != PATTERNS:
            kwargs["hash"] = Hasher.hash((kwargs.get("hash"), extractor_identity(kwargs["extractor"])))
        if (negatives := kwargs.get("negatives", AUTO)) != AUTO:
            on_error = kwargs.get("on_error", "raise")
            kwargs["hash"] = Hasher.hash((kwargs.get("hash"), negatives_identity(negatives, on_error)))
        if data_dir is not None and data_files is not None:
            raise ValueError("Pass either data_dir or data_files, not both.")
        config = self.BUILDER_CONFIG_CLASS(**{k: v for k, v in kwargs.items() if k in self._option_names()})
        if data_dir is not None:
            # As data files, so that the cache tells folders apart
            by_split = self.split_files(data_dir, config)
            escaped = {split: [glob.escape(file) for file in files] for split, files in by_split.items()}
            found = DataFilesDict.from_patterns(escaped, base_path="")
            # Without their times, which a copy changes: hours of training go by the name of the rows
            data_files = DataFilesDict({split: DataFilesList(list(files), []) for split, files in found.items()})
        if data_files is not None:
            # `datasets` would look at the time of a file, which a copy or a backup may have kept
            read: tuple[str, ...] = contents_identity(data_files), negatives_identity(AUTO)
            if beside := self.files_beside(local_files(data_files)):
                read = *read, contents_identity(beside)
            kwargs["hash"] = Hasher.hash((kwargs.get("hash"), read))
        self._default_files = data_files is None
        super().__init__(*args, data_files=data_files, **kwargs)
        self.config.row_options().check(self.config.name)

    @staticmethod
    def configs(config_class: type[IDLConfig]) -> list[IDLConfig]:
        """Return the configs that every corpus has."""
        return [config_class(name=name) for name in CONFIGS]

    @abstractmethod
    def split_files(self, folder: str, config: IDLConfig) -> dict[str, list[str]]:
        """Return the files of each split in a folder of raw data."""

    def files_beside(self, files: Sequence[str]) -> list[str]:
        """Return the files that are read besides those of the splits, and change the rows if they change."""
        return []

    @abstractmethod
    def read_split(self, split: str, files: list[str], log: ErrorLog) -> list[Dialogue]:
        """Return all dialogues of a split, with their person_id."""

    def download(self, dl_manager: datasets.DownloadManager) -> str:
        """Return a folder with the raw data as published, for where neither data_dir nor data_files was given."""
        if not self.DOWNLOADS:
            raise ValueError(
                f"'{self.dataset_name}' has no download. Pass data_dir='<folder>' with the raw files, or "
                "data_files={'train': '<file>', 'validation': '<file>'}."
            )
        if dl_manager.is_streaming:
            raise ValueError(
                f"'{self.dataset_name}' cannot be streamed from where it is published. Fetch "
                f"{', '.join(url for url, _ in self.DOWNLOADS)} and pass data_dir='<folder>' with the files."
            )
        fetched: dict[str, str] = {}
        for url, sha256 in self.DOWNLOADS:
            try:
                file = dl_manager.download(url)
            except OSError as error:
                problem = f"{url} could not be fetched ({error}). Pass data_dir='<folder>' with its files."
                raise OSError(problem) from error
            check_sha256(file, sha256)
            fetched[url.rpartition("/")[2]] = file
        return self.unpack(fetched, f"{dl_manager.download_config.cache_dir}/unpacked/{sha256}")

    def unpack(self, files: dict[str, str], folder: str) -> str:
        """Return a folder with the raw data of the downloaded files, {published name: path}: here of one archive."""
        (archive,) = files.values()
        return unpack(archive, folder)

    def _info(self) -> datasets.DatasetInfo:
        # Every choice that shaped the rows, so that a saved dataset says what it is
        choices = {name: without_paths(getattr(self.config, name)) for name in self._option_names()}
        choices["negatives"] = name_of(self.config.negatives)
        choices |= {name.replace("-", "_"): version(name) for name in _VERSIONS}
        recipe = ", ".join(f"{name}={value!r}" for name, value in choices.items())
        return datasets.DatasetInfo(
            description=f"{self.DESCRIPTION}\n\nMade with: {recipe}",
            features=features(self.config.name),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            citation=self.CITATION,
            version=VERSION,
        )

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        files = self.config.data_files
        if self._default_files:
            files = self.split_files(self.download(dl_manager), self.config)
        generators, problems = [], []
        logs = {split: ErrorLog(self.config.on_error) for split in files}
        by_split = {
            split: self.read_persons(split, [str(path) for path in paths], logs[split])
            for split, paths in files.items()
        }
        for split, persons in by_split.items():
            log, company = logs[split], self.company(split, by_split)
            rows = self.row_builder(company)
            if problem := rows.why_none():
                problems.append(f"Left out the split '{split}': {problem}.")
                logger.warning(problems[-1])
                continue
            if not dl_manager.is_streaming:
                rows.encode_ahead(persons)
            tally = None if dl_manager.is_streaming else Tally.begin(persons, log, company.about(split))
            # A list is split among processes, a tuple is not: each worker has some persons and sees all
            kwargs = {"persons": persons, "company": company, "split": split, "tally": tally}
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=kwargs))
        if not generators:
            raise CorpusError(" ".join(problems))
        return generators

    def _prepare_split(self, split_generator: datasets.SplitGenerator, *args: Any, **kwargs: Any) -> None:
        super()._prepare_split(split_generator, *args, **kwargs)
        tally: Tally = split_generator.gen_kwargs["tally"]
        self.info.description += f"\n\n{tally.report(split_generator.name)}"

    def as_dataset(self, split: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the rows of a split, or of all that have any. Raises CorpusError, which says why, for none."""
        splits = {str(name): info.num_examples for name, info in (self.info.splits or {}).items()}
        lines = self.info.description.splitlines()
        empty = {name: self._why_empty(name, lines) for name, rows in splits.items() if not rows}
        if split is None and len(empty) < len(splits):
            for problem in empty.values():
                logger.warning(problem)
            split = {name: name for name in splits if name not in empty}
        elif asked := [problem for name, problem in empty.items() if split is None or str(split) == name]:
            raise CorpusError(" ".join(asked))
        return super().as_dataset(split, *args, **kwargs)

    def _why_empty(self, split: str, lines: Sequence[str]) -> str:
        left_out = [line for line in lines if line.startswith(f"Left out of {split}: ")]
        return " ".join([f"The split '{split}' has no {self.config.name} rows.", *left_out])

    def read_persons(self, split: str, paths: list[str], log: ErrorLog) -> list[Person]:
        """Return all persons of a split, in the order of its files."""
        try:
            persons = group_by_person(each_once(self.read_split(split, paths, log), log))
        except CorpusError as error:
            if SKIP_ADVICE not in str(error) or self._any_sound(split, paths):
                raise
            vain = "No dialogue of the split can be read, so that leaving out such dialogues would leave none."
            raise CorpusError(str(error).replace(SKIP_ADVICE, vain)) from None
        if log.messages:
            first = "\n  ".join(log.messages[:10])
            skipped = f"{len(log.messages)} malformed lines with their dialogues"
            logger.warning(f"{split}: skipped {skipped}. The first:\n  {first}")
        if not persons:
            raise CorpusError(f"The split '{split}' has no dialogue that could be read: {', '.join(paths)}.")
        return persons

    def _any_sound(self, split: str, paths: list[str]) -> bool:
        try:
            return bool(self.read_split(split, paths, ErrorLog("skip")))
        except CorpusError:
            return False

    def company(self, split: str, persons: Mapping[str, Sequence[Person]]) -> Company:
        """Return everyone whom the rows of a split take something from. persons: those of each split."""
        options = self.config.row_options()
        negatives = NOBODY
        if self.config.name == "dpoc" or (self.config.name == "msl" and options.conditioning in OF_OTHERS):
            negatives = draw_negatives(options.negatives, split, persons, options.seed, self.config.on_error)
        past = persons.get("train", ()) if self.REFERS_TO_TRAINING and split != "train" else ()
        own = {person.person_id for person in persons[split]}
        return Company(tuple(persons[split]), negatives, {p.person_id: p for p in past if p.person_id in own})

    def row_builder(self, company: Company) -> RowBuilder:
        """Return what makes the rows of a split."""
        options = self.config.row_options()
        people = People(
            company.persons, SentenceEncoder(options.encoder), options.extractor, company.negatives.persons
        )
        return RowBuilder(self.config.name, people, options, company.past)

    def _generate_examples(
        self, persons: list[Person], company: Company, split: str, tally: Tally | None
    ) -> Iterator[tuple[str, Row]]:
        builder, made = self.row_builder(company), 0
        for person in persons:
            for number, row in enumerate(builder.rows(person)):
                yield f"{person.person_id}/{row['dialogue_id']}/{number}", row
                made += 1
        if tally:
            tally.add(builder.drops)
        elif not made and len(persons) == len(company.persons):  # a whole stream, and no worker's share of one
            raise CorpusError(self._why_empty(split, Tally.lines(split, builder.drops)))
        for reason, count in (+builder.drops).items():
            logger.warning(f"{self.dataset_name}, {split}: left out {count} x {reason}.")

    @classmethod
    def _option_names(cls) -> list[str]:
        inherited = {field.name for field in fields(datasets.BuilderConfig)}
        return [field.name for field in fields(cls.BUILDER_CONFIG_CLASS) if field.name not in inherited]

    def _check_option_names(self, kwargs: dict[str, Any]) -> None:
        builder_arguments = {
            "cache_dir", "dataset_name", "config_name", "hash", "base_path", "info", "features", "token", "repo_id",
            "storage_options", "writer_batch_size", "config_id", "version", "name", "description",
        }  # fmt: skip
        unknown = sorted(set(kwargs) - builder_arguments - set(self._option_names()))
        if unknown:
            raise ValueError(
                f"Unknown option {', '.join(unknown)}. The options of '{type(self).__name__}' are: "
                f"{', '.join(self._option_names())}."
            )
