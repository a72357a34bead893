"""Scores against the worked numbers, and against the libraries on real replies."""

from dataclasses import replace
from types import SimpleNamespace

import evaluate
import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

import idl_hf  # noqa: F401
from idl_hf.evaluation.data import DialogueKey
from idl_hf.evaluation.measured_model import Notes, Reply
from idl_hf.evaluation.scores import SCORES, Scored, _among_strangers, score_line, score_replies
from idl_hf.models.likelihood import SummedNLL

NAMES = [
    "bleu_1", "bleu_2", "rouge_l", "distinct_1", "corpus_distinct_1", "distinct_2", "corpus_distinct_2", "p_f1",
    "p_co",
]  # fmt: skip


def test_worked_values():
    scores = score_replies(["i like dogs"], ["i like my two dogs"], [["i love my two dogs ."]])
    assert list(scores) == NAMES  # the columns of the reports
    assert scores["bleu_1"] == pytest.approx(0.513417119032592)
    assert scores["bleu_2"] == pytest.approx(0.3630407264452067)
    assert scores["rouge_l"] == pytest.approx(0.75)
    assert scores["distinct_1"] == scores["corpus_distinct_2"] == 1.0
    assert scores["p_f1"] == pytest.approx(2 * 1 / (2 + 3))  # {like, dogs} and {love, two, dogs}
    assert scores["p_co"] == pytest.approx(2 / np.sqrt(3 * 5))  # the full stop is no word


def test_all_worked_numbers(vectors):
    worked = vectors("metrics")
    pairs = worked["bleu"]["pairs"]
    history = [worked["persona"]["history_of_target_user"]] * len(pairs)
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], history)
    mean = worked["bleu"]["mean_over_pairs"]["word_cumulative"]
    assert scores["bleu_1"] == pytest.approx(mean[0], abs=1e-9)
    assert scores["bleu_2"] == pytest.approx(mean[1], abs=1e-9)
    pairs = worked["rouge_l"]["pairs"]
    scores = score_replies([p["response"] for p in pairs], [p["gold"] for p in pairs], [["x"]] * len(pairs))
    assert scores["rouge_l"] == pytest.approx(sum(p["f1"] for p in pairs) / len(pairs), abs=1e-9)
    distinct = worked["distinct"]
    responses = distinct["responses"]
    scores = score_replies(responses, responses, [["x"]] * len(responses))
    for order in ("1", "2"):
        assert scores[f"distinct_{order}"] == pytest.approx(distinct["macro"][order], abs=1e-9)
        assert scores[f"corpus_distinct_{order}"] == pytest.approx(distinct["corpus"][order], abs=1e-9)


def test_real_replies_score_as_sacrebleu_and_rouge_score_say(convai2):
    lines = (convai2 / "valid_self_original_no_cands.txt").read_text(encoding="utf-8").splitlines()
    replies = [line.split("\t")[1] for line in lines if "\t" in line][:200]
    predictions, references = replies[:100], replies[100:]
    scores = score_replies(predictions, references, [replies] * 100)
    pairs = list(zip(predictions, references, strict=True))
    for order in (1, 2):
        bleu = BLEU(lowercase=True, max_ngram_order=order, smooth_method="none")
        expected = np.mean([bleu.corpus_score([p], [[r]]).score / 100 for p, r in pairs])
        assert scores[f"bleu_{order}"] == pytest.approx(expected, abs=1e-9)
    rouge = RougeScorer(["rougeL"])
    expected = np.mean([rouge.score(r, p)["rougeL"].fmeasure for p, r in pairs])
    assert scores["rouge_l"] == pytest.approx(expected, abs=1e-9)


def test_overlaps_are_those_of_each_reply_with_its_own_history_however_they_are_shared():
    histories = [["i love my two dogs .", "dogs , dogs !"], ["we sail", "the sea is cold , and i sail"], ["..."]]
    predictions = ["my dogs love the sea", "i sail", "two dogs", "cold , cold sea", "yes"]
    whose = [histories[i] for i in (0, 1, 0, 1, 2)]
    found = score_replies(predictions, predictions, whose)
    for key in ("p_f1", "p_co"):
        said = [[" ".join(word for word in text.split() if word.isalpha()) for text in history] for history in whose]
        one_by_one = [
            evaluate.load(key).compute(predictions=[reply.replace(",", "")], histories=[past])[key]
            for reply, past in zip(predictions, said, strict=True)
        ]
        assert found[key] == pytest.approx(np.mean(one_by_one), abs=1e-12)
        assert len({*one_by_one}) > 2


def test_unequal_numbers_are_named():
    with pytest.raises(ValueError, match="2 predictions, 1 references and 1 histories"):
        score_replies(["a", "b"], ["a"], [["a"]])


def test_no_replies_are_named():
    with pytest.raises(ValueError, match="at least one prediction, but found none"):
        score_replies([], [], [])


class Line:
    """As much of a measured line as the scores of words look at."""

    label, test = "a line", "a test"

    def __init__(self, people, texts, golds, histories):
        keys = [DialogueKey(person, str(place)) for place, person in enumerate(people)]
        self.replies = [Reply(key, 1, "", gold, text) for key, gold, text in zip(keys, golds, texts, strict=True)]
        self.data = SimpleNamespace(histories=lambda _: histories, dataset_name="a dataset")
        self.notes, self.judge, self.comparable_tokens = Notes(), None, False
        self.shows_dialogues = False


def test_people_are_scored_by_their_own_replies():
    people = ["ruth", "tom", "ruth"]
    said = ["i like dogs", "i sail the sea", "my goats are fine"]
    gold = ["i like my two dogs", "i sail", "fine"]
    histories = [["i love my two dogs ."], ["the sea is cold"], ["i love my two dogs ."]]
    keys = [key for key, score in SCORES.items() if score.compute is SCORES["p_f1"].compute]
    scored = score_line(Line(people, said, gold, histories), keys)
    assert list(scored) == keys
    own = score_replies([said[0], said[2]], [gold[0], gold[2]], [histories[0], histories[2]], release=True)
    together = score_replies(said, gold, histories)
    for key, score in scored.items():
        assert score.rows == 3
        if key.startswith("corpus_"):
            assert score.values == together[key]
        else:
            assert score.values["ruth"] == own[key]
            assert score.values.keys() == {"ruth", "tom"}


def test_what_a_line_cannot_have_is_left_out_and_noted_once():
    line = Line(["ruth"], ["i like dogs"], ["i like cats"], [["i love my two dogs ."]])
    assert list(score_line(line, ["nll", "coh", "p_f1", "gain", "coh_con"])) == ["p_f1"]
    assert line.notes.lines() == [
        "a line has another tokenizer. Its NLL and persona gain are not shown, since likelihoods per token of "
        "different "
        "tokenizers cannot be compared.",
        "Coh. and Coh-Con. need an NLI model (--nli_model), and none was given.",
    ]


def test_a_profile_that_somebody_lacks_who_is_not_scored_leaves_nothing_out():
    line = Line(["ruth"], ["i like dogs"], ["i like cats"], [["i love my two dogs ."]])
    (own,) = (reply.dialogue for reply in line.replies)
    line.comparable_tokens, line.nll = True, lambda conditioning="": {"ruth": 2.0 if conditioning else 3.0}
    line.data.only = {own}
    profiles = {own: ["i sail ."], DialogueKey("tom", "1"): []}
    line.data.profiles = lambda: profiles
    assert score_line(line, ["nll", "nll_profile"])["nll_profile"].values == {"ruth": 2.0}
    profiles[own] = []
    assert list(score_line(line, ["nll", "nll_profile"])) == ["nll"]


def test_scores_that_are_computed_together_are_computed_once(monkeypatch):
    calls = []
    counted = replace(
        SCORES["p_f1"], compute=lambda line, keys: calls.append(keys) or {key: Scored(1.0, 1) for key in keys}
    )
    for key in ("bleu_1", "rouge_l"):
        monkeypatch.setitem(SCORES, key, replace(counted, key=key))
    assert score_line(Line([], [], [], []), ["rouge_l", "bleu_1"]) == {
        "rouge_l": Scored(1.0, 1),
        "bleu_1": Scored(1.0, 1),
    }
    assert calls == [["rouge_l", "bleu_1"]]


def test_released_scores_are_those_of_the_papers_preset():
    scores = score_replies(["abc"], ["abd"], [["x"]], release=True)
    assert scores["release_bleu_1"] == pytest.approx(2 / 3)  # of letters
    assert scores["release_bleu_2"] == pytest.approx(1 / 2)
    assert scores["bleu_1"] == 0


def test_how_punctuation_is_typed_is_no_part_of_a_score():
    """ConvAI2 sets it apart, models as they are do not: persona scores must not tell the two."""
    told, apart = "I love my dogs, don't you?", "i love my dogs , don't you ?"
    gold, histories = ["my dogs!", "my dogs !"], [["i have dogs."], ["i have dogs ."]]
    scores = [score_replies([told], gold[:1], histories[:1], release=True) for told in (told, apart)]
    other = score_replies([told], gold[1:], histories[1:], release=True)
    released = [name for name in scores[0] if name.startswith("release_")]
    for name in scores[0].keys() - set(released):
        assert scores[0][name] == scores[1][name] == other[name]
    assert scores[0]["release_bleu_1"] != scores[1]["release_bleu_1"]


def test_punctuation_shows_no_persona():
    histories = [["i have dogs .", "really ?", "..."]]
    bare, ended, stop = (
        score_replies([said], ["x"], histories) for said in ("i love my dogs", "i love my dogs .", ".")
    )
    assert bare["p_co"] == ended["p_co"] == pytest.approx(2 / np.sqrt(4 * 4))
    assert bare["p_f1"] == ended["p_f1"] > 0
    assert stop["p_co"] == stop["p_f1"] == 0


def test_what_is_neither_better_higher_nor_lower_has_no_direction():
    """Gain rises when a stranger's likelihood falls, and floor and ceiling are of real replies."""
    assert {key for key, score in SCORES.items() if score.lower_is_better is None} == {
        "nll_other",
        "author_floor",
        "author_ceiling",
    }


def test_a_dialogue_weighs_the_same_however_many_strangers_it_has():
    """A model that ignores the person has no persona gain."""
    counts = {"d1": (1, 2.0), "d2": (4, 3.0), "d3": (2, 1.0)}
    lineup = {
        DialogueKey("ann", dialogue): [SummedNLL(nll * 10, 10)] * (1 + others)
        for dialogue, (others, nll) in counts.items()
    }
    line = SimpleNamespace(shows_dialogues=True, comparable_tokens=True, lineup=lambda number: lineup)
    (told,) = _among_strangers(line, ["gain"])["gain"].values.values()  # type: ignore[arg-type]
    assert told == pytest.approx(0, abs=1e-12)
