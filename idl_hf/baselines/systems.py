"""Each system by name: its model, its config, and whether it learns from what denies a profile."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from transformers import AutoConfig

from idl_hf.baselines.bob import BoB, BoBConfig
from idl_hf.baselines.clv import CLV, CLVConfig
from idl_hf.baselines.dhap import DHAP, DHAPConfig
from idl_hf.baselines.frequency import Frequency, FrequencyConfig
from idl_hf.baselines.inputs import Exchange
from idl_hf.baselines.model import Baseline, BaselineConfig
from idl_hf.baselines.msp import MSP, MSPConfig
from idl_hf.baselines.percvae import PerCVAE, PerCVAEConfig

PEOPLE_FILE = "people.json"  # whose answers MSP may take


class System(NamedTuple):
    """A system of the paper's Table 1, or what they all have to beat."""

    model: type[Baseline]
    config: type[BaselineConfig]
    denials: bool = False


SYSTEMS = {
    "frequency": System(Frequency, FrequencyConfig),
    "percvae": System(PerCVAE, PerCVAEConfig),
    "bob": System(BoB, BoBConfig, denials=True),
    "dhap": System(DHAP, DHAPConfig),
    "msp": System(MSP, MSPConfig),
    "clv": System(CLV, CLVConfig),
}

for _system in SYSTEMS.values():  # so that a folder's tokenizer loads as that of a known kind of model
    AutoConfig.register(_system.config.model_type, _system.config, exist_ok=True)


def is_baseline(folder: str) -> bool:
    """Tell whether a folder holds one of these systems."""
    return _system_of(folder) is not None


def load_baseline(folder: str) -> Baseline:
    """Load a system from a folder. Raises ValueError for anything else."""
    system = _system_of(folder)
    if system is None:
        raise ValueError(f"'{folder}' holds none of {', '.join(SYSTEMS)}: its config.json names no such model.")
    return system.model.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()


def save_people(folder: str | Path, people: Mapping[str, list[Exchange]]) -> None:
    """Write whose answers a system may take, beside it."""
    content = {name: [[exchange.post, exchange.reply] for exchange in own] for name, own in people.items()}
    Path(folder, PEOPLE_FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load_people(folder: str | Path) -> dict[str, list[Exchange]]:
    """Return what `save_people` wrote, {} where nothing was."""
    file = Path(folder, PEOPLE_FILE)
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: [Exchange(post, reply) for post, reply in own] for name, own in content.items()}


def _system_of(folder: str) -> System | None:
    file = Path(folder, "config.json")
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type") if file.is_file() else None
    return next((system for system in SYSTEMS.values() if system.config.model_type == kind), None)
