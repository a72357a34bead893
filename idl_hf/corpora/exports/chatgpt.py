"""ChatGPT: `conversations.json`, or the folder or zip that holds it. The speakers are "user" and "assistant".

A conversation is a tree, for a message may be edited and a reply written anew. What was shown last, from its root to
`current_node`, is the conversation; the messages of other branches are dropped.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.exports import entry as entries
from idl_hf.corpora.exports.entry import Entry, fields, kind, parsed, report
from idl_hf.corpora.exports.json_reader import JsonReader
from idl_hf.corpora.exports.message import Message
from idl_hf.corpora.exports.names import distinct
from idl_hf.corpora.exports.parts import beginning, parts
from idl_hf.corpora.exports.times import from_unix

_FILE = r"conversations(?:-\d+)?\.json"
_NO_SPEECH = {
    "thoughts": "thoughts of the model",
    "reasoning_recap": "thoughts of the model",
    "user_editable_context": "system line",
    "model_editable_context": "system line",
}


def found(path: Path) -> bool:
    """Return whether this is an export of ChatGPT."""
    export = beginning(path, _FILE)
    first = next(iter(export), None) if isinstance(export, list) else None
    return isinstance(first, dict) and isinstance(first.get("mapping"), dict)


def read(path: Path, log: ErrorLog) -> Iterator[Message]:
    """Yield the messages, conversation by conversation: those of the branch shown last, then the others."""
    titles: dict[str, str] = {}
    with parts(path, _FILE, "conversations.json") as files:
        for file in files:
            with file.reader() as reader:
                for number in reader.elements():
                    entry = _conversation(reader, number)
                    record = entry.value
                    if isinstance(record, dict) and isinstance(record.get("mapping"), dict):
                        yield from _read_conversation(entry, record, log, titles)
                    else:
                        report(entry, log, f"Expected a conversation with its 'mapping', found {kind(record)}.")


def _conversation(reader: JsonReader, number: int) -> Entry:
    """Return a conversation, whose nodes are read one by one, for they may be a hundred thousand."""
    if reader.peek() != "{":
        return reader.entry(number)
    line = reader.line
    record: dict[str, object] = {}
    for key in reader.members():
        is_tree = key == "mapping" and reader.peek() == "{"
        record[key] = {inner: reader.value() for inner in reader.members()} if is_tree else reader.value()
    return Entry(record, reader.path, line, number, reader.name)


def _read_conversation(
    entry: Entry, record: dict[str, object], log: ErrorLog, titles: dict[str, str]
) -> Iterator[Message]:
    nodes = fields(record["mapping"])
    identity = next((key for key in (record.get("id"), record.get("conversation_id")) if isinstance(key, str)), "")
    title = record.get("title")
    title = title if isinstance(title, str) and title else f"conversation {entry.number}"
    conversation = distinct(title, identity or entry.place, titles)
    branch = _branch(nodes, record.get("current_node"))
    shown = set(branch)
    for key in [*branch, *(key for key in nodes if key not in shown)]:
        node = nodes[key]
        if not isinstance(node, dict) or node.get("message") is not None:  # the root has none
            parse = partial(_message, conversation=conversation, is_shown=key in shown)
            yield from parsed([entry._replace(value=node)], log, parse)


def _branch(nodes: dict[str, object], leaf: object) -> list[str]:
    """Return the keys from the root to a leaf; to the last node where the leaf is not among the nodes."""
    key = leaf if isinstance(leaf, str) and leaf in nodes else next(reversed(nodes), None)
    branch: dict[str, None] = {}
    while isinstance(key, str) and key in nodes and key not in branch:
        branch[key] = None
        node = nodes[key]
        key = node.get("parent") if isinstance(node, dict) else None
    return list(reversed(branch))


def _message(entry: Entry, conversation: str, is_shown: bool) -> Message:
    record = fields(fields(entry.value).get("message"))
    role = entries.text(fields(record.get("author")), "role")
    if not role:
        raise CorpusError("Expected the 'role' of a message's author.")
    written, dropped = "", _why_dropped(record, role) if is_shown else "other branch"
    if not dropped:
        written, has_media = _text_of(record)
        dropped = "" if written.strip() else "media" if has_media else "empty"
    time = from_unix(record.get("create_time"))
    return Message(role, "" if dropped else written, entry.place, time, conversation, dropped)


def _why_dropped(record: dict[str, object], role: str) -> str:
    """Return why a message is nothing that the two said to each other; "" of one that is."""
    metadata = record.get("metadata")
    content_type = entries.text(fields(record.get("content")), "content_type")
    if role == "tool" or (role == "assistant" and record.get("recipient") not in (None, "all")):
        return "tool"
    if role not in ("user", "assistant"):
        return "system line"
    if isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True:
        return "system line"
    return "" if content_type in ("text", "multimodal_text") else _NO_SPEECH.get(content_type, "tool")


def _text_of(record: dict[str, object]) -> tuple[str, bool]:
    """Return the text of a message, of what was spoken its transcription, and whether there are pictures or sound."""
    pieces = fields(record.get("content")).get("parts")
    if not isinstance(pieces, list):
        raise CorpusError(f"Expected the 'parts' of a message to be a list, found {kind(pieces)}.")
    texts = [piece if isinstance(piece, str) else entries.text(fields(piece), "text") for piece in pieces]
    return "\n".join(text for text in texts if text), any(isinstance(piece, dict) for piece in pieces)
