"""One entry of a chat export, whatever the app: what every reader yields."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of an export, in its order. Each entry of a file is yielded; those that are no text have `dropped`.

    conversation: the name of the chat, nothing where the file holds one without a name. place: `file:line`, or the
    entry's number. time: as the export writes it, with its zone if it has one. dropped: why it is no text to learn
    from, in words for a table: "media", "call", "deleted", "system line".
    """

    speaker: str
    text: str
    place: str
    time: datetime | None = None
    conversation: str = ""
    dropped: str = ""
