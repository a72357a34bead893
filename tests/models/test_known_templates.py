"""Models whose tokenizers have no chat template: known by name, given, or refused; never guessed."""

import copy
import logging

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from idl_hf import PersonaChat, prompting
from idl_hf.cache import Cache
from idl_hf.chat_template import PLAIN_TEMPLATE
from idl_hf.cli import main
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.pairs import make_pairs
from idl_hf.explore.dataset import PromptCounter
from idl_hf.models.known_templates import known_template
from idl_hf.models.loading import load_model, load_tokenizer

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
HI, HELLO, PLANS = (
    {"role": role, "content": text}
    for role, text in (("user", "Hi!"), ("assistant", "Hello."), ("user", "Any plans?"))
)
RUTH, NOTHING = ({"role": "system", "content": text} for text in ("You are Ruth.\nYou keep a lighthouse.", ""))
# What `get_conv_template("vicuna_v1.1")` of FastChat 0.2.36 makes of them; its tokenizer puts <s> before
FASTCHAT = {
    "one turn": ([HI], f"{VICUNA} USER: Hi! ASSISTANT:"),
    "two turns": ([HI, HELLO, PLANS], f"{VICUNA} USER: Hi! ASSISTANT: Hello.</s>USER: Any plans? ASSISTANT:"),
    "a system text": (
        [RUTH, HI, HELLO, PLANS],
        "You are Ruth.\nYou keep a lighthouse. USER: Hi! ASSISTANT: Hello.</s>USER: Any plans? ASSISTANT:",
    ),
    "an empty one": ([NOTHING, HI], " USER: Hi! ASSISTANT:"),
    "white space": (
        [{"role": "user", "content": "a\n b "}, {"role": "assistant", "content": " c "}],
        f"{VICUNA} USER: a\n b  ASSISTANT:  c </s>",
    ),
}
NAMES = {
    "lmsys/vicuna-7b-v1.3": True,
    "lmsys/vicuna-13b-v1.5-16k": True,
    "models/vicuna-33b-v1.3": True,
    "lmsys/vicuna-13b-delta-v0": False,
    "lmsys/vicuna-7b-v1": False,
    "WizardLMTeam/WizardLM-13B-V1.2": True,
    "WizardLM/WizardLM-70B-V1.0": True,
    "somebody/WizardLM-13B-Uncensored": False,
    "somebody/vicuna-7b-v1.5-tuned": False,
    "WizardLM/WizardLM-7B-V1.0": False,  # which was taught another form
    "somebody/my-vicuna-7b-v1.5": False,
    "openai-community/gpt2": False,
}


@pytest.fixture(scope="module")
def bare(tokenizer):
    """A tokenizer with <s> and </s>, and no chat template."""
    made = copy.deepcopy(tokenizer)
    made.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    made.chat_template = None
    return made


@pytest.fixture(scope="module")
def save(bare, tmp_path_factory):
    """Saves a tiny model with that tokenizer under a name."""

    def folder(name: str):
        made = tmp_path_factory.mktemp("models") / name
        network = GPT2Config(vocab_size=len(bare), n_embd=32, n_layer=1, n_head=2, eos_token_id=bare.eos_token_id)
        GPT2LMHeadModel(network).save_pretrained(made)
        bare.save_pretrained(made)
        return str(made)

    return folder


@pytest.fixture(scope="module")
def vicuna(save):
    return load_tokenizer(save("vicuna-7b-v1.5"))


@pytest.fixture(scope="module")
def unknown(save):
    return save("some-base-model")


@pytest.mark.parametrize(("messages", "text"), FASTCHAT.values(), ids=FASTCHAT)
def test_the_text_is_that_of_fastchat(vicuna, messages, text):
    asked = messages[-1]["role"] == "user"
    rendered = vicuna.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
    assert rendered == f"<s>{text}"


@pytest.mark.parametrize(("name", "known"), NAMES.items())
def test_a_model_is_known_by_its_own_name(name, known):
    assert (known_template(name) is not None) == known


def test_one_token_begins_a_prompt_and_each_reply_ends_with_one(vicuna):
    begin, end = vicuna.convert_tokens_to_ids(["<s>", "</s>"])
    encoded = prompting.encode(vicuna, [RUTH, HI, HELLO, PLANS], [HELLO])
    ids = encoded["input_ids"]
    assert (ids[0], ids.count(begin), ids.count(end), ids[-1]) == (begin, 1, 2, end)
    learnt = [i for i, kept in zip(ids, encoded["completion_mask"], strict=True) if kept]
    assert vicuna.decode(learnt) == " Hello.</s>"
    assert prompting.prompt_ids(vicuna, [RUTH, HI, HELLO, PLANS]) == ids[: len(ids) - len(learnt)]


def test_an_unknown_model_without_a_template_is_refused_with_what_to_do(unknown, sample_data, capsys):
    with pytest.raises(ValueError, match=r"has no chat template.*--chat_template.*'plain'"):
        load_model(unknown)
    with pytest.raises(ValueError, match="has no chat template"):
        PersonaChat.from_pretrained(unknown, encoder="offline")
    chat = ["chat", "--model", unknown, "--dialogues", f"{sample_data}/train.jsonl", "--person", "ruth"]
    assert main(chat) == 1
    assert "--chat_template" in capsys.readouterr().err


def test_what_is_given_is_taken_where_nothing_else_is_known(unknown, save, tmp_path):
    assert load_tokenizer(unknown, chat_template="plain").chat_template == PLAIN_TEMPLATE
    file = tmp_path / "own.jinja"
    file.write_text("{% for message in messages %}[{{ message['content'] }}]{% endfor %}", encoding="utf-8")
    assert load_tokenizer(unknown, chat_template=str(file)).chat_template == file.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"'no\.jinja' is neither 'plain' nor a file"):
        load_tokenizer(unknown, chat_template="no.jinja")
    named = save("vicuna-13b-v1.1")
    assert load_tokenizer(named, chat_template="plain").chat_template == PLAIN_TEMPLATE  # whoever says so knows better
    assert load_tokenizer(named, plain=True).chat_template == known_template("vicuna-13b-v1.1")


def test_a_template_of_its_own_is_kept_and_what_was_given_told(unknown, tmp_path, caplog, monkeypatch):
    tokenizer = load_tokenizer(unknown, chat_template="plain")
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    assert load_tokenizer(str(tmp_path), chat_template="plain").chat_template == "{{ messages }}"
    assert "has a chat template of its own, which is used" in caplog.text


@pytest.mark.parametrize(
    "words", [["evaluate", "--models"], ["evaluate", "--experiment", "table1", "--quick"]], ids=str
)
def test_an_evaluation_is_told_before_anything_is_measured(unknown, sample_data, tmp_path, capsys, words):
    where = ["--output_dir", str(tmp_path / "out"), "--encoder", "offline"]
    if "--models" in words:
        words = [*words, unknown, "--dataset_name", "idl_hf/dialogues_idl", "--data_dir", str(sample_data)]
        words += ["--dialogues_per_person", "1", "--max_prompt_tokens", "128"]
    else:
        words = [*words, "--conditions", "icl", "idl", "--model_name_or_path", unknown, "--runs_dir", str(tmp_path)]
    assert main([*words, *where]) == 1
    assert "has no chat template" in capsys.readouterr().err
    assert not list(tmp_path.glob("adapters/*"))
    if "--models" in words:
        assert main([*words, *where, "--chat_template", "plain"]) == 0


def test_what_counts_and_what_judges_takes_a_template_too(unknown, save, sample_data, tmp_path):
    assert PromptCounter.from_pretrained(unknown).count([HI]) > 3
    data = EvaluationData("idl_hf/dialogues_idl", str(sample_data), "validation", 256, {"encoder": "offline"})
    other = save("another")
    with pytest.raises(ValueError, match="has no chat template"):
        make_pairs((unknown, other), data, 1, 2, Cache(tmp_path / "a.sqlite"))
    pairs, _ = make_pairs((unknown, other), data, 1, 2, Cache(tmp_path / "b.sqlite"), "plain")
    assert len(pairs) == 1


def test_what_is_trained_may_learn_plain_lines_and_keeps_them(unknown, tmp_path):
    model, tokenizer = load_model(unknown, trainable=True)
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).chat_template == PLAIN_TEMPLATE
