"""The main job in a few minutes: rows, MSL, DPOC, evaluation on people never trained on, a chat, a report."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idl_hf.arguments import option
from idl_hf.shown import visible

if TYPE_CHECKING:
    from idl_hf.evaluation.data import EvaluationData
    from idl_hf.report.results import Conversation, Report
    from idl_hf.training.data import DataArguments

SAMPLE_DATA = Path(__file__).parent / "sample_data"
_QUESTIONS = ("hi , how is your day going ?", "what do you do for a living ?", "do you have any pets ?")
_COLUMNS = ["nll", "nll_other", "gain", "id_hits", "id_log_loss", "bleu_1", "rouge_l", "distinct_1", "p_f1", "p_co"]
_PROMPTS = {"reference_turns": "self", "references": 12, "clusters": 1}  # the best that was measured, docs/results.md
_TRAINING: dict[str, Any] = {  # of both stages
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "num_train_epochs": 1,
    "gradient_checkpointing": False,
    "logging_steps": 4,
    "save_steps": 8,
    "save_total_limit": 1,
    "resume_from_checkpoint": "last",
    "report_to": "none",
}


@dataclass
class DemoSettings:
    """Everything a demo run depends on; a rerun with other settings starts afresh."""

    data_dir: str | None = option(None, "Folder with raw ConvAI2 files, or with train.jsonl and validation.jsonl.")
    output_dir: str = option("runs/demo", "Adapters and report.html, .md, .json go here.")
    model_name_or_path: str = option("offline", "Base model; 'offline' is SmolLM2-135M.")
    encoder: str = option("offline", "Sentence encoder; 'offline' is all-MiniLM-L6-v2.")
    max_prompt_tokens: int = option(512, "Longer prompts lose whole reference dialogues.")
    msl_rows: int = option(32, "Target dialogues to train on in the first stage.")
    dpoc_rows: int = option(48, "Replies to train on in the second stage, of whole dialogues.")
    evaluated_dialogues: int = option(8, "Held-out dialogues to score, spread over people.")
    generated_replies: int = option(8, "Held-out replies to generate per model.")
    seed: int = option(0, "Of training and of the chat.")

    @property
    def dataset_name(self) -> str:
        """The dataset that reads the folder."""
        own = self.data_dir is None or any(Path(self.data_dir).glob("*.jsonl"))
        return "idl_hf/dialogues_idl" if own else "idl_hf/convai2_idl"

    @property
    def data_folder(self) -> str:
        """The folder, that of the package's own dialogues where none was given."""
        return self.data_dir or str(SAMPLE_DATA)


def run_demo(settings: DemoSettings) -> Path:
    """Run all stages and return the report's path. An interrupted run is continued from its last checkpoint."""
    from idl_hf.evaluation.written import finish

    started = time.perf_counter()
    folder = _prepare_folder(settings)
    _train(settings, folder)
    print("\nThe model as it is, after MSL and after DPOC, on people never trained on", flush=True)
    report = _measure(settings, folder, started)
    conversation = _chat(settings, folder / "dpoc")
    seconds = time.perf_counter() - started
    return finish(folder, replace(report, conversations=[conversation], seconds=seconds)) / "report.md"


def _prepare_folder(settings: DemoSettings) -> Path:
    folder = Path(settings.output_dir)
    record, current = folder / "settings.json", json.dumps(asdict(settings), indent=2)
    if folder.exists() and any(folder.iterdir()) and not record.is_file():
        raise ValueError(f"'{folder}' holds files that are no demo's and would be lost. Pass another --output_dir.")
    interrupted = record.is_file() and record.read_text() == current and not (folder / "report.md").exists()
    if not interrupted:
        for name in ("msl", "dpoc"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "report.md").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(current)
    return folder


def _data(settings: DemoSettings, rows: int, **options: Any) -> "DataArguments":
    from idl_hf.training.data import DataArguments

    return DataArguments(
        dataset_name=settings.dataset_name,
        data_dir=settings.data_folder,
        dataset_options={"encoder": settings.encoder, "targets": "all", **_PROMPTS, **options},
        max_rows=rows,
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _train(settings: DemoSettings, folder: Path) -> None:
    from trl import ModelConfig

    from idl_hf.dpoc.config import DPOCConfig
    from idl_hf.training.stages import MSLConfig, train_dpoc, train_msl

    print(f"First stage: MSL on {settings.msl_rows} dialogues", flush=True)
    model = ModelConfig(
        model_name_or_path=settings.model_name_or_path,
        use_peft=True,
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    msl, dpoc, options = str(folder / "msl"), str(folder / "dpoc"), {**_TRAINING, "seed": settings.seed}
    args = MSLConfig(output_dir=msl, learning_rate=2e-3, **options)
    train_msl(_data(settings, settings.msl_rows, reply="all"), args, model)
    print(f"\nSecond stage: DPOC on {settings.dpoc_rows} replies", flush=True)
    # A step is all replies of a dialogue
    options |= {"prefix_sharing": "dialogue", "gradient_accumulation_steps": 1, "precompute_ref_log_probs": True}
    config = DPOCConfig(output_dir=dpoc, learning_rate=1e-4, **options)
    train_dpoc(_data(settings, settings.dpoc_rows), config, ModelConfig(model_name_or_path=msl))


def _held_out(settings: DemoSettings) -> "EvaluationData":
    from idl_hf.evaluation.data import EvaluationData

    options = {"encoder": settings.encoder, **_PROMPTS}
    return EvaluationData(
        settings.dataset_name, settings.data_folder, max_prompt_tokens=settings.max_prompt_tokens, options=options
    )


def _measure(settings: DemoSettings, folder: Path, started: float) -> "Report":
    from idl_hf.evaluation.experiment import Scale
    from idl_hf.evaluation.measuring import ExperimentRun
    from idl_hf.evaluation.run import measure, models_experiment

    models = {"as it is": settings.model_name_or_path, "MSL": str(folder / "msl"), "MSL + DPOC": str(folder / "dpoc")}
    data, test = _held_out(settings), settings.dataset_name.removeprefix("idl_hf/")
    people = len(set(data.rows("references")["person_id"]))
    scale = Scale(
        model_name_or_path=settings.model_name_or_path,
        encoder=settings.encoder,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_new_tokens=40,
        dialogues_per_person=max(1, settings.evaluated_dialogues // people),
        generated=settings.generated_replies,
        chat_template="plain",  # of a model that has none, which is what the two others learn
    )
    experiment = models_experiment(models, test, _COLUMNS)
    run = ExperimentRun(experiment, scale, folder, {test: data}, _data(settings, settings.msl_rows))
    report = measure(experiment, run, folder, {"demo": asdict(settings)}, started)
    trained = f"{settings.msl_rows} dialogues for MSL, {settings.dpoc_rows} replies for DPOC."
    return replace(report, title="Demo report", intro=f"{trained} {report.intro}")


def _chat(settings: DemoSettings, adapter: Path) -> "Conversation":
    """Have a short chat with the first held-out person, from that person's dialogues alone."""
    from transformers import set_seed

    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.report.results import Conversation, Utterance

    sessions = _held_out(settings).sessions()
    person = sessions[0]["person_id"]
    chat = PersonaChat.from_pretrained(str(adapter))  # whose prompts are as in its training
    set_seed(settings.seed)  # the chat draws words at a temperature; a model this small repeats itself otherwise
    own = [session for session in sessions if session["person_id"] == person]
    for session in own:
        chat.add_dialogue([(turn["role"], turn["text"]) for turn in session["turns"]])
    turns = []
    for question in _QUESTIONS:
        reply = chat.reply(question, max_new_tokens=40, do_sample=True, temperature=0.7)
        turns += [Utterance("you", question), Utterance(person, reply)]
        print(visible(f"\n  you: {question}\n  {person}: {reply}"), flush=True)
    about = f"The model saw {len(own)} past dialogues of this person, never the profile"
    about += f", which reads: {' '.join(own[0]['profile'])}" if own[0]["profile"] else "."
    return Conversation(f"Chat with {person}", about, turns)
