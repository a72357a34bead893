"""What is measured of a model on the dialogues of one test."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from idl_hf.cache import Cache
from idl_hf.evaluation.data import EvaluationData
from idl_hf.evaluation.measured_model import MeasuredLine, MeasuredModel, Notes


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
