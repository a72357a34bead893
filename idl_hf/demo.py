"""The main job in a few minutes: rows, MSL, DPOC, evaluation on people never trained on, a chat, a report."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import set_seed
from trl import ModelConfig

from idl_hf.chat.persona_chat import PersonaChat
from idl_hf.dpoc.config import DPOCConfig
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.report import ModelReport, evaluate_model, markdown_table, scores_table
from idl_hf.models.loading import load_model
from idl_hf.rows.options import RowOptions
from idl_hf.training.stages import DataArguments, MSLConfig, train_dpoc, train_msl

SAMPLE_DATA = Path(__file__).parent / "sample_data"
_QUESTIONS = ("hi , how is your day going ?", "what do you do for a living ?", "do you have any pets ?")


@dataclass
class DemoSettings:
    """Everything a demo run depends on; a rerun with other settings starts afresh."""

    data_dir: str | None = field(
        default=None, metadata={"help": "Folder with raw ConvAI2 files, or with train.jsonl and validation.jsonl."}
    )
    output_dir: str = field(default="runs/demo", metadata={"help": "Adapters, report.md and report.json go here."})
    model_name_or_path: str = field(default="offline", metadata={"help": "Base model; 'offline' is SmolLM2-135M."})
    encoder: str = field(default="offline", metadata={"help": "Sentence encoder; 'offline' is all-MiniLM-L6-v2."})
    max_prompt_tokens: int = field(default=1024, metadata={"help": "Longer prompts lose whole reference dialogues."})
    msl_rows: int = field(default=48, metadata={"help": "Target dialogues to train on in the first stage."})
    dpoc_rows: int = field(default=32, metadata={"help": "Replies to train on in the second stage."})
    evaluated_dialogues: int = field(default=12, metadata={"help": "Held-out dialogues to score, spread over people."})
    generated_replies: int = field(default=8, metadata={"help": "Held-out replies to generate per model."})
    seed: int = field(default=0, metadata={"help": "Of training and of the chat."})

    @property
    def dataset_name(self) -> str:
        own = self.data_dir is None or any(Path(self.data_dir).glob("*.jsonl"))
        return "idl_hf/dialogues_idl" if own else "idl_hf/convai2_idl"

    @property
    def data_folder(self) -> str:
        return self.data_dir or str(SAMPLE_DATA)


def run_demo(settings: DemoSettings) -> Path:
    """Runs all stages and returns the report's path. An interrupted run is continued from its last checkpoint."""
    started = time.perf_counter()
    folder = _prepare_folder(settings)
    data = EvaluationData(
        settings.dataset_name,
        settings.data_folder,
        max_prompt_tokens=settings.max_prompt_tokens,
        options={"encoder": settings.encoder},
    )
    people = len(set(data.rows("references")["person_id"]))
    data.dialogues_per_person = max(1, settings.evaluated_dialogues // people)
    print(
        f"{people} held-out people, {data.dialogues_per_person} dialogues each, {settings.dataset_name}.", flush=True
    )
    reports = [_evaluate(settings.model_name_or_path, data, "base", settings)]
    print(f"\nFirst stage: MSL on {settings.msl_rows} dialogues", flush=True)
    _train_msl(settings, folder / "msl")
    reports.append(_evaluate(str(folder / "msl"), data, "MSL", settings))
    print(f"\nSecond stage: DPOC on {settings.dpoc_rows} replies", flush=True)
    _train_dpoc(settings, folder / "dpoc", str(folder / "msl"))
    reports.append(_evaluate(str(folder / "dpoc"), data, "MSL + DPOC", settings))
    chat = _chat(settings, folder / "dpoc", data)
    return _write_report(settings, folder, reports, chat, time.perf_counter() - started)


def _prepare_folder(settings: DemoSettings) -> Path:
    folder = Path(settings.output_dir)
    record, current = folder / "settings.json", json.dumps(asdict(settings), indent=2)
    if folder.exists() and any(folder.iterdir()) and not record.is_file():
        raise ValueError(
            f"'{folder}' holds files that are not a demo's. Pass another --output_dir; they would be replaced."
        )
    interrupted = record.is_file() and record.read_text() == current and not (folder / "report.md").exists()
    if not interrupted:
        for name in ("msl", "dpoc"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "report.md").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(current)
    return folder


def _stage(settings: DemoSettings, folder: Path, **options: Any) -> dict[str, Any]:
    """What both stages share. Everything runs on the machine's own processor where it has no GPU."""
    import torch

    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "num_train_epochs": 1,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 4,
        "save_steps": 12,
        "save_total_limit": 1,
        "resume_from_checkpoint": "last",
        "report_to": "none",
        "seed": settings.seed,
        **options,
    }


def _data(settings: DemoSettings, rows: int, **options: Any) -> DataArguments:
    return DataArguments(
        dataset_name=settings.dataset_name,
        data_dir=settings.data_folder,
        dataset_options={"encoder": settings.encoder, "targets": "all", **options},
        max_rows=rows,
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _train_msl(settings: DemoSettings, folder: Path) -> None:
    model = ModelConfig(
        model_name_or_path=settings.model_name_or_path,
        use_peft=True,
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        lora_target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    train_msl(
        _data(settings, settings.msl_rows, reply="all"),
        MSLConfig(**_stage(settings, folder, learning_rate=2e-3)),
        model,
    )


def _train_dpoc(settings: DemoSettings, folder: Path, adapter: str) -> None:
    args = DPOCConfig(**_stage(settings, folder, learning_rate=1e-4, precompute_ref_log_probs=True))
    train_dpoc(_data(settings, settings.dpoc_rows), args, ModelConfig(model_name_or_path=adapter))


def _evaluate(name: str, data: EvaluationData, label: str, settings: DemoSettings) -> ModelReport:
    model, tokenizer = load_model(name)
    return evaluate_model(model, tokenizer, data, label, settings.generated_replies)


def _chat(settings: DemoSettings, adapter: Path, data: EvaluationData) -> dict[str, Any]:
    """A short chat with the first held-out person, from that person's dialogues alone."""
    sessions = data.sessions()
    person = sessions[0]["person_id"]
    chat = PersonaChat.from_pretrained(
        str(adapter),
        encoder=settings.encoder,
        options=RowOptions(encoder=settings.encoder),
        max_prompt_tokens=settings.max_prompt_tokens,
    )
    set_seed(settings.seed)  # the chat draws words at a temperature; a model this small repeats itself otherwise
    own = [session for session in sessions if session["person_id"] == person]
    for session in own:
        chat.add_dialogue([(turn["role"], turn["text"]) for turn in session["turns"]])
    turns = []
    for question in _QUESTIONS:
        turns.append(
            {
                "partner": question,
                "reply": chat.reply(question, max_new_tokens=40, do_sample=True, temperature=0.7),
                "computed": chat.new_tokens,
            }
        )
        print(f"\n  you: {question}\n  {person}: {turns[-1]['reply']}", flush=True)
    return {"person": person, "dialogues": len(own), "profile": own[0]["profile"], "turns": turns}


def _write_report(
    settings: DemoSettings, folder: Path, reports: list[ModelReport], chat: dict[str, Any], seconds: float
) -> Path:
    said = "\n".join(
        f"- **partner**: {turn['partner']}\n- **{chat['person']}**: {turn['reply']}" for turn in chat["turns"]
    )
    examples = "\n".join(
        f"| {example['said']} | {example['gold']} | {example['reply']} |".replace("\n", " ")
        for example in reports[-1].replies[:6]
    )
    text = f"""# Demo report

Model `{settings.model_name_or_path}`, encoder `{settings.encoder}`, data `{settings.dataset_name}`; {settings.msl_rows} dialogues for MSL,
{settings.dpoc_rows} replies for DPOC, seed {settings.seed}. {seconds:.0f} s in all.

## Likelihood of held-out people's replies
{markdown_table(reports)}

## Generated replies
{scores_table(reports)}

| partner | gold | {reports[-1].label} |
|---|---|---|
{examples}

## Chat with {chat["person"]}
The model saw {chat["dialogues"]} past dialogues of this person, never the profile, which reads: {" ".join(chat["profile"])}

{said}
"""
    results = {
        "settings": asdict(settings),
        "seconds": seconds,
        "models": [asdict(report) for report in reports],
        "chat": chat,
    }
    (folder / "report.json").write_text(json.dumps(results, indent=2))
    partial = folder / "report.md.partial"
    partial.write_text(text)
    partial.rename(folder / "report.md")
    print(
        f"\n{markdown_table(reports)}\n\n{scores_table(reports)}\n\nThe report is in {folder / 'report.md'}.",
        flush=True,
    )
    return folder / "report.md"
