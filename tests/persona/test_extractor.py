"""The LLM persona extractor: what a model learnt comes back in order, once, the same in any company; garbage is
counted."""

import json
import shutil
import sys
from collections import Counter

import pytest

from idl_hf.corpora.errors import CorpusError
from idl_hf.explore.extract import ExtractArguments, extract_file, read_utterances
from idl_hf.models.identity import model_identity
from idl_hf.models.lines import MAX_NEW_TOKENS, generate_lines
from idl_hf.models.loading import load_merged
from idl_hf.models.responder import LocalModel
from idl_hf.persona import patterns
from idl_hf.persona.extractor import PersonaExtractor, _shortened, extractor_identity, load_extractor
from idl_hf.persona.triples import format_prompt, format_sample
from idl_hf.schema import Triple

FACTS = {
    "i have two dogs .": [Triple("i", "have_pet", "two dogs")],
    "how are you ?": [],
    "my wife loves opera and sushi": [
        Triple("my wife", "like_music", "opera"),
        Triple("my wife", "like_food", "sushi"),
    ],
    "i live in norway .": [Triple("i", "live_in_general", "norway")],
}
SENTENCES = list(FACTS)
STACKED = [SENTENCES, SENTENCES[::-1]]
EOS = 2  # of the tokenizer


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def learnt(tiny_llama, tokenizer):
    """A tiny model that knows FACTS by heart, each alone and stacked."""
    import torch

    model = tiny_llama(hidden_size=64).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    samples = [[sentence] for sentence in SENTENCES] + STACKED
    prompts = [tokenizer(format_prompt(sample))["input_ids"] for sample in samples]
    completions = [tokenizer(format_sample([FACTS[s] for s in sample]))["input_ids"] + [EOS] for sample in samples]
    pairs = list(zip(prompts, completions, strict=True))
    width = max(len(prompt + completion) for prompt, completion in pairs)
    ids = torch.tensor([p + c + [EOS] * (width - len(p + c)) for p, c in pairs])[:, :-1]
    labels = torch.tensor([[-100] * len(p) + c + [-100] * (width - len(p + c)) for p, c in pairs])
    scored = labels[:, 1:] != -100
    for _ in range(90):
        optimizer.zero_grad()
        hidden = model.model(input_ids=ids).last_hidden_state
        torch.nn.functional.cross_entropy(model.lm_head(hidden[scored]), labels[:, 1:][scored]).backward()
        optimizer.step()
    return model.eval(), tokenizer


def extractor(loaded, **settings):
    return PersonaExtractor(lambda: loaded, "tests", show_progress=False, **settings)


def written_by(monkeypatch, **lines):
    """An extractor whose model wrote these lines for these utterances."""

    def write(self, prompts, *_):
        yield {i: lines.get(prompt.partition("\n")[0], "<>") for i, prompt in enumerate(prompts)}

    monkeypatch.setattr(LocalModel, "lines", write)
    return extractor((None, None))


# What the model knows


def test_triples_come_in_the_order_of_the_utterances(learnt):
    asked = [*SENTENCES[::-1], *SENTENCES]
    assert extractor(learnt).extract(asked) == [FACTS[sentence] for sentence in asked]


def test_a_repeated_utterance_costs_once(learnt):
    some = extractor(learnt)
    assert some.extract([SENTENCES[0]] * 5 + [SENTENCES[1]]) == [FACTS[SENTENCES[0]]] * 5 + [[]]
    assert some.generated_count == 2


def test_another_extractor_of_the_same_model_loads_nothing_for_known_texts(learnt):
    extractor(learnt).extract(SENTENCES)
    second = PersonaExtractor(lambda: pytest.fail("loaded the model"), "tests")
    assert second.extract(SENTENCES) == list(FACTS.values())
    assert second.generated_count == 0


def test_another_model_is_asked_itself(learnt):
    extractor(learnt).extract(SENTENCES)
    other = PersonaExtractor(lambda: learnt, "another model", show_progress=False)
    other.extract(SENTENCES)
    assert other.generated_count == len(SENTENCES)


def test_the_stacked_form_gives_each_sentence_its_own_line_and_uses_no_cache(learnt):
    some = extractor(learnt)
    for expected_count in (2, 4):
        assert some.extract_samples(STACKED) == [[FACTS[sentence] for sentence in sample] for sample in STACKED]
        assert some.generated_count == expected_count


def test_a_line_break_in_an_utterance_starts_no_other_line(learnt):
    some = extractor(learnt)
    assert some.extract(["i have\ntwo  dogs .\r\n"]) == [FACTS["i have two dogs ."]]


@pytest.mark.parametrize("text", ["", "  \n", "...", "?!"])
def test_what_has_no_word_is_not_asked(learnt, text):
    some = extractor(learnt)
    assert some.extract([text]) == [[]]
    assert some.generated_count == 0


def test_no_utterance_gives_no_triple():
    assert PersonaExtractor(lambda: pytest.fail("loaded the model"), "tests").extract([]) == []


# Generation


def test_prompts_of_any_length_give_the_same_in_any_batch(tiny_llama, tokenizer):
    model = tiny_llama(tie_word_embeddings=False)
    texts = [" ".join(["i like tea"] * count) for count in (1, 9, 2, 30, 4, 17, 3)]
    prompts = [tokenizer(format_prompt([text]))["input_ids"] for text in texts]

    def written(batch_size):
        batches = generate_lines(model, tokenizer, prompts, [1] * len(prompts), batch_size, {EOS})
        return {i: text for batch in batches for i, text in batch.items()}

    alone = written(1)
    assert len(set(alone.values())) == len(texts)  # babble, but of each its own
    assert written(3) == written(16) == alone


@pytest.mark.parametrize("window", [None, 6])
def test_what_is_written_is_what_generate_writes(whole_tokenizer, window):
    """Also where rows leave the batch at different times, and where a model looks back a few tokens only."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(whole_tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=window, pad_token_id=EOS, eos_token_id=EOS,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    texts = ["hi", "i have two dogs and a cat at home .", "i like tea"]
    prompts = [whole_tokenizer(format_prompt([text]))["input_ids"] for text in texts]
    (written,) = generate_lines(model, whole_tokenizer, prompts, [1, 2, 1], 3, {EOS})
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        limit = MAX_NEW_TOKENS * (2 if i == 1 else 1)
        whole = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False
        )
        assert written[i] == whole_tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)


def test_generation_stops_at_the_number_of_lines_of_each(learnt):
    model, tokenizer = learnt
    prompt = tokenizer(format_prompt(SENTENCES))["input_ids"]
    (written,) = generate_lines(model, tokenizer, [prompt] * 3, [1, 2, 4], 3, {EOS})
    whole = format_sample(list(FACTS.values()))
    assert written == {0: whole[: whole.index("\n") + 1], 1: "\n".join(whole.split("\n")[:2]) + "\n", 2: whole}


def test_a_model_that_never_ends_its_lines_is_cut_off(tiny_llama, tokenizer):
    model = tiny_llama(tie_word_embeddings=False)
    steps = Counter()
    model.register_forward_hook(lambda *_: steps.update(["step"]))
    some = extractor((model, tokenizer))
    assert some.extract(["i have two dogs ."]) == [[]]
    assert steps["step"] == MAX_NEW_TOKENS
    assert some.refused.total() > 0


def test_an_endless_utterance_is_read_up_to_a_point(monkeypatch):
    some = written_by(monkeypatch)
    seen = []
    write = LocalModel.lines
    monkeypatch.setattr(LocalModel, "lines", lambda *given: seen.extend(given[1]) or write(*given))
    assert some.extract(["dogs " * 5000, "x" * 5000]) == [[], []]
    assert max(map(len, seen)) < 1100
    assert [len(_shortened(text)) for text in ("dogs " * 5000, "x" * 5000, "a " + "x" * 5000)] == [
        999, 1000, 1000,
    ]  # fmt: skip


# What is refused

GARBAGE = [
    ("<two dogs, have_pet", 0, {"malformed triple": 1}),
    ("two dogs, have_pet, i>", 0, {"line without a triple": 1}),
    ("ich habe zwei Hunde", 0, {"line without a triple": 1}),
    ("", 0, {"line without a triple": 1}),
    ("<two dogs, i>", 0, {"malformed triple": 1}),
    ("<, have_pet, i> <two dogs, have_pet, i>", 1, {"malformed triple": 1}),
    ("<two dogs, have_pet, i> <two dogs, have_pet, i>", 1, {"repeated triple": 1}),
    ("<zwei Hunde, have_pet, i>", 0, {"object that is not in the utterance": 1}),
    ("<two, dogs, have_pet, i>", 0, {"object that is not in the utterance": 1}),
    ("<two dogs, i have them, i>", 0, {"relation that is no label": 1}),
    ("<two dogs, have_pet, i>\n<two dogs, have_pet, i>\n", 1, {}),
    ("<>", 0, {}),
    ("<" * 200, 0, {"malformed triple": 200}),
    ("," * 200, 0, {"line without a triple": 1}),
]


@pytest.mark.parametrize(("line", "kept", "refused"), GARBAGE)
def test_garbage_is_counted_and_never_raises(monkeypatch, line, kept, refused):
    some = written_by(monkeypatch, **{"i have two dogs .": line})
    assert some.extract(["i have two dogs ."]) == [[Triple("i", "have_pet", "two dogs")] * kept]
    assert some.refused == refused


def test_missing_lines_of_a_stacked_sample_are_counted(monkeypatch):
    some = written_by(monkeypatch, **{"i have two dogs .": "<two dogs, have_pet, i>"})
    assert some.extract_samples([["i have two dogs .", "hi", "hello"]]) == [
        [[Triple("i", "have_pet", "two dogs")], [], []]
    ]
    assert some.refused == {"sentence without a line": 2}


def test_made_up_objects_can_be_asked_for(monkeypatch):
    some = written_by(monkeypatch, **{"i have two dogs .": "<a horse, have_pet, i>"})
    some._copy_only = False
    assert some.extract(["i have two dogs ."]) == [[Triple("i", "have_pet", "a horse")]]


# Which model it is


@pytest.fixture(scope="module")
def saved(learnt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt")
    for part in learnt:
        part.save_pretrained(folder)
    return folder


def test_a_saved_model_extracts_what_it_learnt(saved):
    assert load_extractor(str(saved))(SENTENCES) == list(FACTS.values())


def test_patterns_stand_for_the_rules():
    assert load_extractor("patterns") is patterns.extract
    assert extractor_identity("patterns") == "patterns"


def test_an_adapter_is_known_by_its_weights_wherever_it_lies(saved, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def adapter(name, seed):
        import torch

        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(AutoModelForCausalLM.from_pretrained(saved), config).save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    first, other = adapter("first", 0), adapter("other", 1)
    copy = shutil.copytree(first, tmp_path / "copy")
    assert model_identity(first) == model_identity(str(copy)) != model_identity(other)
    config = copy / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'))
    assert model_identity(first) != model_identity(str(copy)), "the same weights count twice as much"
    assert (
        PersonaExtractor.from_pretrained(first).identity
        != PersonaExtractor.from_pretrained(first, dtype="bfloat16").identity
    )
    assert "LoraLayer" not in repr([type(part).__mro__ for part in load_merged(first)[0].modules()])


def test_a_model_that_is_nowhere_is_named():
    with pytest.raises(OSError, match="nobody/nothing"):
        PersonaExtractor.from_pretrained("nobody/nothing")


# The verb


def test_a_files_utterances_become_json_lines(saved, tmp_path, capsys):
    (tmp_path / "said.txt").write_text("\n".join([*SENTENCES, "", SENTENCES[0]]), encoding="utf-8")
    target = tmp_path / "new" / "triples.jsonl"
    extract_file(ExtractArguments(str(tmp_path / "said.txt"), extractor=str(saved), output=str(target)))
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in found] == [*SENTENCES, SENTENCES[0]]
    assert found[2]["triples"] == [["my wife", "like_music", "opera"], ["my wife", "like_food", "sushi"]]
    assert [path.name for path in target.parent.iterdir()] == ["triples.jsonl"]
    assert "5 utterances, 4 with triples, 5 triples" in capsys.readouterr().err


def test_of_dialogues_the_persons_own_utterances_are_read(sample_data, capsys):
    extract_file(ExtractArguments(str(sample_data / "validation.jsonl")))
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    lines = (sample_data / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [turn for line in lines for turn in json.loads(line)["turns"]]
    assert texts == [turn["text"] for turn in turns if turn["role"] == "self"]


def test_an_interrupted_extraction_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / "said.txt").write_text("i have two dogs .")
    target = tmp_path / "triples.jsonl"
    monkeypatch.setattr(json, "dumps", lambda *_, **__: sys.exit(3))
    with pytest.raises(SystemExit):
        extract_file(ExtractArguments(str(tmp_path / "said.txt"), output=str(target)))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["said.txt"]


def test_files_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        read_utterances(tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        read_utterances(tmp_path / "latin.txt")
