"""The settings: their defaults and words, what is refused, and that a command line can tell them without TRL."""

import dataclasses
import math
import pickle
import subprocess
import sys

import pytest
from trl import DPOConfig, TrlParser

from idl_hf.dpoc import DPOCConfig
from idl_hf.dpoc.fields import DPOCFields


def test_the_package_and_the_fields_import_no_torch():
    code = (
        "import sys, idl_hf.dpoc, idl_hf.dpoc.fields\n"
        "assert not {'torch', 'transformers', 'trl'} & set(sys.modules)\n"
        "from idl_hf.dpoc import DPOCConfig, DPOCTrainer, dpoc_penalty\n"
        "import idl_hf\n"
        "assert (idl_hf.DPOCConfig, idl_hf.DPOCTrainer) == (DPOCConfig, DPOCTrainer)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError, match="DPOTrainer"):
        from idl_hf.dpoc import DPOTrainer  # noqa: F401


def test_a_command_line_knows_the_fields_of_both():
    fields = {field.name: field for field in dataclasses.fields(DPOCConfig)}
    theirs = [field.name for field in dataclasses.fields(DPOConfig)]
    added = [field.name for field in dataclasses.fields(DPOCFields) if field.name not in theirs]
    assert list(fields) == [*theirs, *added]
    assert all(fields[field.name] is field for field in dataclasses.fields(DPOCFields))
    words = "--output_dir a --use_cpu true --prefix_sharing false --penalty 1 --beta 0.2 --max_length 9".split()
    (args,) = TrlParser(DPOCConfig).parse_args_and_config(words)
    assert (args.prefix_sharing, args.penalty, args.beta, args.max_length) == (False, 1.0, 0.2, 9)
    assert pickle.loads(pickle.dumps(args)) == args  # as a checkpoint keeps it
    assert {"penalty": 1.0, "beta": 0.2}.items() <= args.to_dict().items()


@pytest.mark.parametrize("word", ["true", True, "false", False, "auto", "dialogue"])
def test_words_of_the_command_line(word, tmp_path):
    found = DPOCConfig(str(tmp_path), use_cpu=True, prefix_sharing=word).prefix_sharing
    assert found == {"true": True, "false": False}.get(word, word)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": -1.0}, "reward violations"),
        ({"penalty": math.nan}, "and finite"),
        ({"penalty": math.inf}, "and finite"),
        ({"penalty_form": "printed"}, "paper, released"),
        ({"ld_alpha": 0.5}, "three"),
        ({"penalty_form": "released", "loss_type": "ipo"}, "loss_type='sigmoid'"),
        ({"max_prompt_length": 0}, "at least 1"),
        ({"padding_free": True}, "padding_free"),
        ({"truncation_mode": "keep_end"}, "keeps the end of prompts"),
        ({"prefix_sharing": "dialogue", "loss_type": "aot"}, "compares the rows of a batch"),
        ({"prefix_sharing": "dialogue", "loss_type": ["sigmoid", "aot_unpaired"]}, "compares the rows of a batch"),
        ({"prefix_sharing": "dialogue", "max_prompt_length": 99}, "no longer begin alike"),
        ({"include_num_input_tokens_seen": "non_padding"}, "num_tokens is logged"),
        ({"prefix_sharing": "maybe"}, "'auto', True, False or 'dialogue'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        DPOCConfig(str(tmp_path), use_cpu=True, **settings)


def test_defaults_are_the_papers(tmp_path):
    config = DPOCConfig(str(tmp_path), use_cpu=True)
    assert (config.penalty, config.penalty_form, config.beta, config.learning_rate) == (2.0, "paper", 0.1, 1e-5)
    assert (config.per_device_train_batch_size, config.max_length) == (1, None)
