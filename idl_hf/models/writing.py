"""The text of a reply while its tokens come: whole characters, nothing of a stop string, nothing that may be one."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from idl_hf.models.replies import meant

_HALF = "\ufffd"  # what a decoder makes of bytes that are no whole character, or not yet


class Writing:
    """Text made of tokens one by one. What it shows, put together, is the whole reply without white space around it.

    stops: the text ends before the one of these that is complete first. stopped: whether it has, or another message
    has begun.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._ids: list[int] = []
        self._begin, self._read = 0, 0  # tokens that the next ones are decoded with, and those that are in the text
        self._text = ""
        self._shown = 0  # characters of the stripped text
        self.stopped = False

    def add(self, token: int) -> str:
        """Return what is to show now, often nothing yet."""
        self._ids.append(token)
        text = self._decode()
        if text.endswith(_HALF):
            return ""
        return self._show(text, last=False)

    def end(self) -> str:
        """Return what is left to show once no token follows."""
        return "" if self.stopped else self._show(self._decode(), last=True)

    def _decode(self) -> str:
        """Return the text of the tokens that are not in it yet. They are decoded along with those before them: what a
        word's first token becomes depends on these."""
        before = str(self._tokenizer.decode(self._ids[self._begin : self._read], skip_special_tokens=True))
        return str(self._tokenizer.decode(self._ids[self._begin :], skip_special_tokens=True))[len(before) :]

    def _show(self, new: str, last: bool) -> str:
        if new:
            self._begin, self._read = self._read, len(self._ids)
            self._text += new
        said = meant(self._tokenizer, self._text)
        found = [(place + len(stop), place) for stop in self._stops if (place := said.text.find(stop)) >= 0]
        self.stopped = said.over or bool(found)
        text = said.text[: min(found)[1]] if found else said.text
        if not (last or self.stopped):
            text = text[: len(text) - self._undecided(text)]
        text = text.strip()
        piece = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return piece

    def _undecided(self, text: str) -> int:
        """Return how many characters at the end may be the beginning of a stop string."""
        longest = max(map(len, self._stops), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
