"""What is measured of a model on the dialogues of one test."""

import json
import math

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from idl_hf.cache import Cache
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.measured_model import MeasuredLine, MeasuredModel, Notes
from idl_hf.evaluation.scores import score_line
from idl_hf.models.likelihood import SummedNLL


@pytest.mark.parametrize("conditioning", ["references", "other_person"])
def test_a_model_of_few_positions_is_measured_on_prompts_that_it_has_positions_for(
    conditioning, tokenizer, sample_data, tmp_path
):
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 420, "bos_token_id": 1}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), eos_token_id=2, **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = MeasuredModel(str(tmp_path), Cache(tmp_path / "measured.sqlite"))
    data = EvaluationData("idl_hf/dialogues_idl", str(sample_data), options={"encoder": "offline"})
    data.choose([{"conditioning": "references", "reply": "last"}], 1, 2, 1)
    options = {"conditioning": conditioning, "reply": "last"}
    line = MeasuredLine("tiny", model, data, options, Notes(), 20, 2, 0, True, None)
    assert any(count > 0 for count in line.rows()["dropped_references"])
    assert set(line.nll()) == set(line.rows()["person_id"])
    assert len(model.replies(line.rows()["prompt"], 20, "tiny")) == len(line.rows())


class WordsOfThePrompt:
    """A model in place of a large one: a word is likely that the prompt holds often, by counts and one more."""

    positions = None

    def __init__(self, tokenizer, reads=True):
        self.tokenizer, self._reads = tokenizer, reads

    def scores(self, rows, label):
        for row in rows:
            words = [word for message in row["prompt"] for word in message["content"].split()] if self._reads else []
            said = [word for message in row["completion"][::2] for word in message["content"].split()]
            chances = [(words.count(word) + 1) / (len(words) + 1000) for word in said]
            yield SummedNLL(-sum(map(math.log, chances)), len(said))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Ten people of four dialogues each, who say nothing but their own word and what everybody says."""
    folder = tmp_path_factory.mktemp("planted")
    names = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "yak"]
    talks = [
        {"person_id": name, "dialogue_id": f"{name}-{i}", "turns": [
            {"role": "partner", "text": f"question {i} ?"}, {"role": "self", "text": f"i say {name} {i}"},
            {"role": "partner", "text": "and then ?"}, {"role": "self", "text": f"{name} again"},
        ]}
        for name in names for i in range(4)
    ]  # fmt: skip
    for split, some in (("train", talks[-4:]), ("validation", talks[:-4])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in some))
    return folder


@pytest.mark.parametrize("reads", [True, False])
def test_a_planted_speaker_is_found_and_who_reads_no_prompt_knows_nobody(reads, planted, tokenizer):
    data = EvaluationData("idl_hf/dialogues_idl", str(planted), options={"encoder": "offline"})
    data.choose([{"conditioning": "references"}], 2, None, 1)
    model = WordsOfThePrompt(tokenizer, reads)
    line = MeasuredLine("words", model, data, {"conditioning": "references"}, Notes(), 20, 0, 0, True, None)
    scored = score_line(line, ["nll_other", "gain", "id_hits", "id_log_loss"])
    assert {len(scores) for scores in line.lineup().values()} == {8}
    assert {len(scores) for scores in line.lineup(4).values()} == {5}
    assert {score.rows for score in scored.values()} == {10}
    hits, losses, gains = (list(scored[key].values.values()) for key in ("id_hits", "id_log_loss", "gain"))
    if reads:
        assert hits == [1] * 10
        assert max(losses) < math.log(8) / 2
        assert min(gains) > 0
    else:
        assert hits == [0] * 10
        assert losses == pytest.approx([math.log(8)] * 10, abs=1e-9)
        assert gains == pytest.approx([0] * 10, abs=1e-12)


def test_identification_is_shown_of_a_model_whose_likelihoods_per_token_are_not_compared(planted, tokenizer):
    data = EvaluationData("idl_hf/dialogues_idl", str(planted), options={"encoder": "offline"})
    data.choose([{"conditioning": "references"}], 2, 2, 1)
    notes = Notes()
    line = MeasuredLine("words", WordsOfThePrompt(tokenizer), data, {"conditioning": "references"}, notes, 20, 0, 0,
                        False, None)  # fmt: skip
    assert list(score_line(line, ["nll", "gain", "id_hits", "id_log_loss"])) == ["id_hits", "id_log_loss"]
    assert sum("words has another tokenizer" in note for note in notes.lines()) == 1
