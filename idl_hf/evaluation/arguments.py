"""What `idl-hf evaluate` and `idl-hf score` are asked for. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from idl_hf.arguments import option, refuse_less_than_one, required
from idl_hf.models.known_templates import CHAT_TEMPLATE_HELP
from idl_hf.training.data import DATA_DIR_HELP, DATASET_HELP, OPTIONS_HELP


@dataclass
class EvaluateArguments:
    """Which models on which people, which experiment of the paper, or which ratings."""

    models: list[str] | None = option(None, "Models and adapters to compare: Hub ids, folders, or 'offline'.")
    dataset_name: str = option("idl_hf/convai2_idl", f"Of --models: {DATASET_HELP}")
    data_dir: str | None = option(None, f"Of --models: {DATA_DIR_HELP}")
    split: str = option("validation", "Of --models: split of people whom no model trained on.")
    max_prompt_tokens: int | None = option(
        None, "Of --models: longer prompts lose whole reference dialogues; default as in training, else 2048."
    )
    dialogues_per_person: int | None = option(None, "Of --models: scores at most this many; default all.")
    generated_replies: int = option(0, "Of --models: replies to generate and score per model, spread over people.")
    engine: str | None = option(
        None,
        "Of --models: URL of an OpenAI-compatible engine that answers; --models are names that it lists. It gives no "
        "log-probs, so replies alone are scored. Its key is read from IDL_HF_ENGINE_KEY.",
    )
    tokenizer: str | None = option(
        None,
        "Of --engine: the model or adapter behind it, by whose tokenizer prompts are cut to length; default the "
        "folder that the first of --models is.",
    )
    experiment: str | None = option(
        None,
        "Instead of --models: table1, table2, table3, table5, figure4, figure5, low_resource, generalize, references, "
        "selection, second_stage, learning_curve, reference_curve, or a YAML file. Trains what is missing.",
    )
    scale: str = option(
        "paper",
        "Of --experiment: which models and how much: paper (LLaMA-2-7B on a GPU), smollm2_cpu, smollm2_short, "
        "smollm2_probe, smollm2_whole, smollm2_power, or a YAML file.",
    )
    human: str | None = option(
        None, "Instead of --models: a file of ratings that people gave in `idl-hf app` (docs/judge.md)."
    )
    quick: bool = option(False, "Of --experiment: minutes on the included sample data; shows that all of it runs.")
    conditions: list[str] | None = option(None, "Instead of the experiment's: idl icl ft system gold wo_criterion ...")
    model_name_or_path: str | None = option(None, "Instead of the scale's: a causal LM, Hub id, folder or 'offline'.")
    nli_model: str | None = option(None, "Instead of the scale's, for Coh. and Coh-Con.")
    data_dirs: dict | str | None = option(
        None,
        'Of --experiment: folders with raw files as JSON, {"convai2_idl": "path"}; what is not named is downloaded.',
    )
    chat_template: str | None = option(None, CHAT_TEMPLATE_HELP)
    encoder: str | None = option(
        None, "Sentence encoder, or 'offline'; default that of the training, else the paper's."
    )
    dataset_options: dict | str | None = option(None, OPTIONS_HELP)
    output_dir: str | None = option(
        None,
        "The report (report.html, .md, .json) with all that was measured; default runs/evaluation, of --human "
        "runs/human. Of an experiment a folder for each report, such as docs/results for one to be quoted; default "
        "runs/experiments.",
    )
    runs_dir: str | None = option(
        None,
        "Of --experiment: adapters and measurements, which all experiments share and no report holds; default "
        "runs/experiments.",
    )
    texts: bool = option(
        True,
        "Of --experiment: whether the report shows replies and dialogues. One that is to be published without the "
        "corpus's text, such as in docs/results, shows none: --texts false.",
    )

    def __post_init__(self) -> None:
        kinds = {
            "--models": bool(self.models),
            "--experiment": self.experiment is not None,
            "--human": bool(self.human),
        }
        given = [name for name, is_given in kinds.items() if is_given]
        if len(given) != 1:
            raise ValueError(
                "Pass either --models with the models to compare, or --experiment (a name or YAML file), or --human "
                f"(a file of ratings); found {' and '.join(given) or 'none of them'}."
            )
        of_models = ["dataset_name", "data_dir", "split", "max_prompt_tokens", "dialogues_per_person"]
        of_models += ["generated_replies", "engine", "tokenizer"]
        of_experiment = ["scale", "quick", "conditions", "model_name_or_path", "nli_model", "data_dirs"]
        of_experiment += ["runs_dir", "texts"]
        of_both = ("chat_template", "encoder", "dataset_options")
        if given == ["--experiment"]:
            self._refuse(of_models, "--experiment", "--models")
        else:
            self._refuse(of_experiment, given[0], "--experiment")
        if given == ["--human"]:
            self._refuse((*of_models, *of_both), "--human", "--models")
        self._check_engine()
        refuse_less_than_one(dialogues_per_person=self.dialogues_per_person, max_prompt_tokens=self.max_prompt_tokens)
        if self.generated_replies < 0:
            raise ValueError(f"--generated_replies must be 0 or more, found {self.generated_replies}.")

    def _refuse(self, names: Sequence[str], kind: str, wanted: str) -> None:
        given = [f"--{name}" for name in names if getattr(self, name) != getattr(EvaluateArguments, name)]
        if given:
            raise ValueError(f"{', '.join(given)} cannot be combined with {kind}, only with {wanted}.")

    def _check_engine(self) -> None:
        if self.engine is None and self.tokenizer is not None:
            raise ValueError("--tokenizer is of --engine: a model that is loaded here has its own. Leave it out.")
        if self.engine is not None and not self.generated_replies:
            raise ValueError(
                "An engine gives replies and no log-probs, and no reply is to be generated. Pass --generated_replies "
                "with how many."
            )


@dataclass
class ScoreArguments:
    """Whose replies, and to what."""

    replies: str = required("File of replies: JSON Lines of dialogue_id, turn and text (docs/score.md).")
    report: str | None = option(
        None,
        "Folder of a report of `idl-hf evaluate`, beside whose lines the replies get one of their own, in the same "
        "places; default a table of their own, of all places in the split.",
    )
    dataset_name: str | None = option(
        None, f"Default the report's, else idl_hf/convai2_idl; of a report on several, which: {DATASET_HELP}"
    )
    data_dir: str | None = option(None, DATA_DIR_HELP)
    split: str | None = option(None, "Without --report: split of the people replied for; default validation.")
    generated_replies: int | None = option(
        None, "Without --report: how many replies are asked for, as `idl-hf evaluate` spreads them; default all."
    )
    encoder: str | None = option(None, "Without --report: sentence encoder, or 'offline'; default the paper's.")
    dataset_options: dict | str | None = option(None, f"Without --report: {OPTIONS_HELP}")
    nli_model: str | None = option(None, "For Coh. and Coh-Con.; default the report's.")
    name: str | None = option(None, "What the line is called; default the name of the file.")
    output_dir: str | None = option(None, "Folder for the new report; default runs/score/ and the line's name.")

    def __post_init__(self) -> None:
        names = ("split", "generated_replies", "encoder", "dataset_options")
        given = [f"--{name}" for name in names if getattr(self, name) is not None]
        if self.report is not None and given:
            raise ValueError(
                f"{', '.join(given)} cannot be combined with --report, which says in which places of which dialogues "
                "its lines reply. Leave one or the other out."
            )
        refuse_less_than_one(generated_replies=self.generated_replies)
