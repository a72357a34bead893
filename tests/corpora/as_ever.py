"""What tells whether real dialogues are read as ever."""

import hashlib


def digest_of(dialogues: object) -> str:
    """Return the SHA-256 of dialogues, without the fields that only chat exports fill."""
    text = repr(dialogues)
    for empty in (", time=''", ", speaker=''", ", partner_id=''"):
        text = text.replace(empty, "")
    return hashlib.sha256(text.encode()).hexdigest()
