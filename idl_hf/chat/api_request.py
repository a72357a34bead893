"""What a request to `/v1/chat/completions` asks for, and the errors of OpenAI's API. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from idl_hf.corpora.jsonl import is_text
from idl_hf.models.generation import GenerationSettings
from idl_hf.schema import Turn
from idl_hf.shown import visible

_MAX_STOPS = 16
_OWN = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")  # settings that a request may change
_READ = {
    "model", "messages", "stream", "stream_options", "stop", "seed", "max_tokens", "max_completion_tokens", *_OWN,
}  # fmt: skip
_CHANGES_NOTHING = {"user", "metadata", "safety_identifier", "prompt_cache_key"}
# What cannot be had, with the values that ask for nothing
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "presence_penalty": (0,), "frequency_penalty": (0,),
    "logit_bias": ({},), "tools": ([],), "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False),
    "functions": ([],), "function_call": ("none", "auto"), "response_format": ({"type": "text"},),
    "store": (False,), "service_tier": ("auto", "default"), "modalities": (["text"],),
    "audio": (), "prediction": (), "reasoning_effort": (), "web_search_options": (),
}  # fmt: skip


class RefusalError(Exception):
    """A request that is not answered: the status, a sentence, and what it is about in OpenAI's words."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, object]:
        """Return OpenAI's error body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Asked:
    """A reply that a request asks for. context: the conversation so far. system: the client's instruction."""

    model: str
    context: tuple[Turn, ...]
    system: str
    settings: GenerationSettings
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool


def parse_request(body: object, defaults: GenerationSettings) -> Asked:
    """Return what a request asks for; what it leaves open is as in `defaults`. Raises RefusalError."""
    if not isinstance(body, dict):
        raise RefusalError(400, f"The body must be a JSON object, found {type(body).__name__}.")
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_what_cannot_be_had(given)
    model, stream = given.get("model"), given.get("stream", False)
    if not isinstance(model, str):
        _refuse("model", "must be the id of a person, such as GET /v1/models lists", model)
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or type(options.get("include_usage", False)) is not bool:
        _refuse("stream_options", 'must be an object such as {"include_usage": true}', options)
    if type(stream) is not bool:
        _refuse("stream", "must be true or false", stream)
    if options and not stream:
        raise RefusalError(400, "'stream_options' is for requests with 'stream': true.", "stream_options")
    system, context = _conversation(given.get("messages"))
    return Asked(
        model, context, system, _settings(given, defaults), _stops(given), stream, options.get("include_usage", False)
    )


def _refuse(param: str, expected: str, found: object) -> NoReturn:
    raise RefusalError(400, f"'{param}' {expected}, found {repr(found)[:200]}.", param)


def _refuse_what_cannot_be_had(given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if name in _READ or name in _CHANGES_NOTHING:
            continue
        if name not in _NEUTRAL:
            shown = visible(name[:80])  # JSON may hold halves of characters, which no answer can
            raise RefusalError(400, f"'{shown}' is unknown here; leave it out.", shown, "unknown_parameter")
        if value not in _NEUTRAL[name]:
            allowed = " or ".join(map(repr, _NEUTRAL[name]))
            advice = f"leave it out{f', or pass {allowed}' if allowed else ''}"
            text = f"'{name}' is not supported, found {repr(value)[:200]}: {advice}."
            raise RefusalError(400, text, name, "unsupported_parameter")


def _settings(given: Mapping[str, object], defaults: GenerationSettings) -> GenerationSettings:
    changed: dict[str, object] = {name: given[name] for name in _OWN if name in given}
    lengths = {given[name] for name in ("max_tokens", "max_completion_tokens") if type(given.get(name)) is int}
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given and (type(value := given[name]) is not int or value < 1):
            _refuse(name, "must be a whole number, 1 or more", value)
    if len(lengths) > 1:
        raise RefusalError(400, "'max_tokens' and 'max_completion_tokens' differ; pass one of them.", "max_tokens")
    if lengths:
        changed["max_new_tokens"] = lengths.pop()
    if "seed" in given:
        if type(seed := given["seed"]) is not int:
            _refuse("seed", "must be a whole number", seed)
        changed["seed"] = seed % 2**32
    try:
        return replace(defaults, **changed)  # type: ignore[arg-type]
    except ValueError as error:
        named = next((name for name in _OWN if f" {name} " in str(error)), None)
        raise RefusalError(400, str(error), named) from error


def _stops(given: Mapping[str, object]) -> tuple[str, ...]:
    stop = given.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(is_text(text) and text for text in stops):
        _refuse("stop", "must be a text of valid Unicode or a list of such texts, none of them empty", stop)
    if len(stops) > _MAX_STOPS:
        _refuse("stop", f"must be at most {_MAX_STOPS} texts", f"{len(stops)} of them")
    return tuple(stops)


def _conversation(messages: object) -> tuple[str, tuple[Turn, ...]]:
    """Return the system message, "" for none, and the turns of a conversation."""
    if not isinstance(messages, list) or not messages:
        _refuse("messages", "must be a list of messages, the last of them the user's", messages)
    system, turns = "", []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        role = message.get("role") if isinstance(message, dict) else None
        text = _text(message, where)
        if role in ("system", "developer") and place == 0:
            system = text
        elif role == "user":
            turns.append(Turn("partner", text))
        elif role == "assistant":
            turns.append(Turn("self", text))
        else:
            expected = "must have the role user or assistant, or as the first message system"
            _refuse(where, expected, role)
    if not turns or turns[-1].role != "partner":
        raise RefusalError(400, "The last message must be the user's: the reply is the person's to it.", "messages")
    return system, tuple(turns)


def _text(message: object, where: str) -> str:
    """Return the text of a message, whose content may be a list of parts that are text."""
    if not isinstance(message, dict):
        _refuse(where, "must be an object with role and content", message)
    if unsupported := [name for name in ("tool_calls", "function_call", "audio") if message.get(name)]:
        raise RefusalError(
            400, f"{where} has '{unsupported[0]}', which is not supported.", where, "unsupported_parameter"
        )
    content = message.get("content")
    parts: Sequence[object] = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if not isinstance(part, dict) or kind != "text":
            text = f"{where} has a part of the type {repr(kind)[:80]}; people answer to text alone."
            raise RefusalError(400, text, where, "unsupported_parameter")
        texts.append(part.get("text"))
    if message.get("role") == "assistant":
        texts = ["" if text is None else text for text in texts]  # a reply may have been nothing
    is_said = message.get("role") == "assistant" or "".join(map(str, texts)).strip()
    if not all(isinstance(text, str) for text in texts) or not is_said:
        _refuse(where, "must have a content that is a text and not empty", content)
    text = "\n".join(map(str, texts))
    if not is_text(text):
        raise RefusalError(400, f"{where} holds halves of characters, which no text has; pass valid Unicode.", where)
    return text
