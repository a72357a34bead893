"""The lowest versions that setup.cfg promises are the pins of constraints-min.txt."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_floor_is_a_pin():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = [text for name, text in config["options.extras_require"].items() if name not in ("docs", "deepspeed")]
    asked = "\n".join([config["options"]["install_requires"], *extras])
    floors = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", asked, re.MULTILINE))
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints-min.txt").read_text(), re.MULTILINE))
    assert floors.keys() <= pins.keys()
    del floors["torch"]  # which the file says why

    def parts(version: str) -> list[int]:
        return [int(part) for part in re.sub(r"(\.0)+$", "", version).split(".")]

    assert {name: parts(pins[name]) for name in floors} == {name: parts(floor) for name, floor in floors.items()}
