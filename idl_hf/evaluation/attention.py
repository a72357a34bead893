"""Which words of the dialogue sessions a model looks at as it writes the person's reply (paper A.5, Figure 5)."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from idl_hf import prompting, token_ids
from idl_hf.chat_template import GUARD, conversation
from idl_hf.report.results import Span

TOP_TOKENS = 100  # paper A.5
# Of ConvAI2: contractions as crowd workers type them, and what anybody's profile says
_STOP_WORDS = ENGLISH_STOP_WORDS.union("im ive dont didnt thats don didn doesn ve ll just like really lot".split())
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")  # or a run of other signs, so that words cover all but white space
_LINE = re.compile(rf"(?<!\S)(?!{prompting.SILENCE}\s*$)\S(?:.*\S)?", re.MULTILINE)
_MARK = "\ue000"  # for private use, so in no text
_PREFIX = {"user": "Partner: ", "assistant": "Person: "}


class SessionLine(NamedTuple):
    """A line of a reference dialogue: who speaks, and where it stands in the rendered row."""

    prefix: str
    begin: int
    end: int


@dataclass(frozen=True)
class TokenAttention:
    """The attention to each token of the reference dialogues in a row."""

    text: str  # the rendered row
    lines: list[SessionLine]  # of the reference dialogues in it
    offsets: list[tuple[int, int]]  # of the tokens of these lines
    weights: np.ndarray  # attention to each of these tokens, of sum 1


@dataclass(frozen=True)
class PersonaAttention:
    """The attention to words of a person's profile."""

    mass: float  # of the attention to content words of the reference dialogues, the share on keywords
    base_rate: float  # share of these words' tokens that are of keywords: the mass if all tokens got the same
    lift: float  # mass / base_rate, 1 if all tokens got the same; NaN where no keyword is in the dialogues
    keywords_in_top: int  # distinct keywords among the TOP_TOKENS tokens with the most attention, the paper's number
    spans: list[Span]  # for display, with weights relative to the heaviest content word's


def persona_keywords(profile: Sequence[str]) -> set[str]:
    """Return the content words of the profile, in lower case and without "'s".

    Words of over three letters lose a final s unless they end in ss, us or is, so that "friends" meets "friend"; no
    other forms are joined ("hobby" and "hobbies").
    """
    return {_stem(word) for sentence in profile for word in _WORD.findall(sentence)} - {""}


def _stem(word: str) -> str:
    """Return the word as keywords are compared, "" for stop words, single characters and punctuation."""
    word = re.sub(r"'(?:s|m|d|re|ve|ll)$", "", word.lower().replace("’", "'"))
    if len(word) < 2 or not word[0].isalnum() or word in _STOP_WORDS or word.endswith("n't"):
        return ""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def attention_on_sessions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any]
) -> TokenAttention:
    """Return the attention from the positions that predict the row's own replies, averaged over them, heads and
    layers.

    row: of config `msl`, as built or after `fit_rows`. The chat template, white space, the placeholder of a silent
    partner and the first token, a sink of attention, do not count. Raises ValueError for a prompt without reference
    dialogues.
    """
    text, lines = _session_lines(tokenizer, row)
    offsets = {}  # of the tokens that count, by position
    continued = token_ids.continue_prompt(tokenizer, row["prompt"], [row["completion"]])
    for position, (begin, end) in enumerate(continued.prompt.spans):
        token = text[begin:end]
        begin, end = end - len(token.lstrip()), begin + len(token.rstrip())
        if position > 0 and begin < end and any(line.begin <= begin and end <= line.end for line in lines):
            offsets[position] = (begin, end)
    if not offsets:
        raise ValueError(
            f"'{row['dialogue_id']}' has no reference dialogue in its prompt; score rows with one (max_prompt_tokens)."
        )
    weights = _attention_of_replies(model, **prompting.encode(tokenizer, row["prompt"], row["completion"]))[[*offsets]]
    return TokenAttention(text, lines, list(offsets.values()), weights / weights.sum())


def _session_lines(tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any]) -> tuple[str, list[SessionLine]]:
    """Return the rendered row and the lines of its reference dialogues, found by rendering it again with marks around
    them."""
    messages = [dict(message) for message in (*row["prompt"], *row["completion"])]
    text = conversation(tokenizer, messages)
    # After fit_rows, the first reference left follows a system message, and a silent partner if the person opens it
    current, first = row["dialogue_starts"][-1], row["dialogue_starts"][row.get("dropped_references", 0)]
    system = int(messages[0]["role"] == "system")
    last = current["message"] - first["message"] + system + (first["message"] - system) % 2
    cut = current["char"] - (first["char"] if current["message"] == first["message"] else 0)
    prefixes = []
    for message in messages[system : last + 1]:
        until = cut if message is messages[last] else len(message["content"])
        marked, count = _LINE.subn(rf"{_MARK}\g<0>{_MARK}", message["content"][:until])
        message["content"] = marked + message["content"][until:]
        prefixes += [_PREFIX[message["role"]]] * count
    pieces = conversation(tokenizer, messages).split(_MARK)
    if "".join(pieces) != text:
        raise ValueError("The tokenizer's chat template alters messages; set one that renders them as they are.")
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return text.replace(GUARD, "\u200b"), list(map(SessionLine, prefixes, ends[:-1:2], ends[1::2]))


@torch.inference_mode()
def _attention_of_replies(model: PreTrainedModel, input_ids: list[int], completion_mask: list[int]) -> np.ndarray:
    """Return the attention to each token up to a factor, (tokens,).

    What predicts no reply runs in the model's own kernel, to fill the cache: eager attention, which alone shows its
    weights, would take a tokens x tokens matrix a head for it.
    """
    inputs = torch.tensor([input_ids], device=model.device)
    total = torch.zeros(len(input_ids), device=model.device)
    kernel, cache, end = model.config._attn_implementation, DynamicCache(config=model.config), 0
    try:
        for predicts, stretch in groupby(map(bool, completion_mask[1:])):
            begin, end = end, end + len(list(stretch))
            model.set_attn_implementation("eager" if predicts else kernel)
            output = model(inputs[:, begin:end], past_key_values=cache, output_attentions=predicts, logits_to_keep=1)
            for weights in output.attentions if predicts else ():  # (1, heads, queries, keys) of each layer
                keys = weights.shape[-1]  # fewer than there are tokens in a layer with a sliding window
                total[end - keys : end] += weights[0].float().mean(0).sum(0)
    finally:
        model.set_attn_implementation(kernel)
    return total.cpu().double().numpy()


def persona_attention(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any], profile: Sequence[str]
) -> PersonaAttention:
    """Return the attention of a row, as `attention_on_sessions` takes it, to words of the person's profile.

    profile: its sentences, which need not be in the prompt.
    """
    return weigh_keywords(attention_on_sessions(model, tokenizer, row), persona_keywords(profile))


def weigh_keywords(attention: TokenAttention, keywords: set[str]) -> PersonaAttention:
    """Return how much of the attention lies on keywords. A word weighs what its tokens do.

    Only content words count: small models park most of their attention on some "the", which would drown the rest.
    """
    text, weights = attention.text, attention.weights
    words = [match.span() for line in attention.lines for match in _WORD.finditer(text, line.begin, line.end)]
    stems = [_stem(text[begin:end]) for begin, end in words]
    word_of = [bisect_right(words, (begin, len(text))) - 1 for begin, _ in attention.offsets]
    of_keyword = np.array([stems[word] in keywords for word in word_of])
    of_content = np.array([bool(stems[word]) for word in word_of])
    by_word = np.bincount(word_of, weights * of_content, len(words))
    heaviest = by_word.max() or 1.0
    prefixes = {line.begin: line.prefix for line in attention.lines}
    spans: list[Span] = []
    for i, (begin, end) in enumerate(words):
        gap = "\n" * (i > 0) + prefixes[begin] if begin in prefixes else text[words[i - 1][1] : begin]
        spans += [Span(gap, 0.0, False)] * bool(gap)
        spans.append(Span(text[begin:end], float(by_word[i] / heaviest), stems[i] in keywords))
    counted = max(float(weights[of_content].sum()), np.finfo(float).tiny)
    mass, base_rate = float(weights[of_keyword].sum()) / counted, of_keyword.sum() / max(1, of_content.sum())
    in_top = {stems[word_of[i]] for i in np.argsort(-weights, kind="stable")[:TOP_TOKENS]} & keywords
    return PersonaAttention(mass, base_rate, mass / base_rate if base_rate else float("nan"), len(in_top), spans)
