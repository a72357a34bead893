"""What can be found of people's data in a text, and the placeholders that stand for it: the same thing, the same one.

Found are web and mail addresses, account numbers (IBAN) and card numbers whose check digits are right, phone numbers
(with their country's code, or as written in the region that is named), and the names that are given. Nothing else is:
no names that nobody gave, no postal addresses, no dates, no passwords.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from idl_hf.schema import APOSTROPHES, clean, comparable

if TYPE_CHECKING:
    from re import Match

_WEB = re.compile(
    r"(?:https?://|ftp://|www\.)[^\s<>\"]+"
    r"|(?<![\w@.-])(?:[\w-]+\.)+(?:com|net|org|info|io|de|at|ch|es|fr|it|nl|be|pt|br|uk|us|eu|app|me|ly|gl)(?:/[^\s<>\"]*|\b)",
    re.IGNORECASE,
)
# Whatever may stand before an "@" is taken as a whole, though none follows: else a long word, begun anew at each of
# its characters, would take quadratic time
_MAIL = re.compile(r"(?:mailto:)?[\w.!#$%&'*+/=?^`{|}~-]+(?P<host>@[\w-]+(?:\.[\w-]+)+)?", re.IGNORECASE)
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b", re.IGNORECASE | re.ASCII)
_CARD = re.compile(r"(?<![\d+])\d(?:[ -]?\d){11,18}(?!\d)")
_DIGITS = re.compile(r"(?:\d\D{0,3}){6}")


class Mask:
    """Placeholders for what is found, numbered in order of appearance.

    names: in any case, as whole words. region: two letters, such as DE: how phone numbers without the code of a
    country are read; none of them is found without it. Raises ImportError where `phonenumbers` is not installed,
    ValueError for a region that is none.
    """

    def __init__(self, names: Sequence[str] = (), region: str = "") -> None:
        try:
            import phonenumbers
        except ImportError as error:
            raise ImportError(
                "--mask finds phone numbers with the package 'phonenumbers', which is not installed. "
                "Run: pip install phonenumbers"
            ) from error
        self._phones = phonenumbers
        if region and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(
                f"--region '{region}' is unknown. Expected the two letters of a country, such as DE or US."
            )
        self._region = region.upper() or None
        self._placeholders: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        kept = sorted({comparable(name): clean(name) for name in names if comparable(name)}.values(), key=len)
        written = (r"\s+".join(map(_spelled, name.split())) for name in reversed(kept))  # the longest first
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(written)})(?!\w)", re.IGNORECASE) if kept else None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many different things of each kind were replaced."""
        return dict(self._counts)

    def __call__(self, text: str) -> str:
        """Return the text with placeholders."""
        if "@" in text:
            text = _MAIL.sub(self._mail, text)
        if "." in text or "://" in text:
            text = _WEB.sub(self._web, text)
        if _DIGITS.search(text):
            text = _ACCOUNT.sub(self._account, text)
            text = _CARD.sub(self._card, text)
            text = self._without_phones(text)
        if self._names:
            text = self._names.sub(lambda match: self._placeholder("name", comparable(match[0])), text)
        return text

    def _placeholder(self, kind: str, thing: str) -> str:
        if (kind, thing) not in self._placeholders:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._placeholders[kind, thing] = f"[{kind} {self._counts[kind]}]"
        return self._placeholders[kind, thing]

    def _mail(self, match: "Match[str]") -> str:
        return self._placeholder("mail", match[0].casefold()) if match["host"] else match[0]

    def _web(self, match: "Match[str]") -> str:
        address = match[0].rstrip(".,;:!?)]}'")
        return self._placeholder("link", address) + match[0][len(address) :]

    def _account(self, match: "Match[str]") -> str:
        # A match may run into the next word: its longest beginning with the right check digits counts
        for end in range(len(match[0]), 14, -1):
            written = match[0][:end]
            number = re.sub("[ -]", "", written).upper()
            if len(number) >= 15 and written[-1].isalnum() and _is_iban(number):
                return self._placeholder("account", number) + match[0][end:]
        return match[0]

    def _card(self, match: "Match[str]") -> str:
        number = re.sub("[ -]", "", match[0])
        return self._placeholder("card", number) if _is_card(number) else match[0]

    def _without_phones(self, text: str) -> str:
        possible = self._phones.Leniency.POSSIBLE
        parts, end = [], 0
        for match in self._phones.PhoneNumberMatcher(text, self._region, possible, max_tries=10_000):
            number = self._phones.format_number(match.number, self._phones.PhoneNumberFormat.E164)
            parts += [text[end : match.start], self._placeholder("phone", number)]
            end = match.end
        return "".join([*parts, text[end:]])


def _spelled(word: str) -> str:
    """Return the pattern of a word, whichever apostrophe a phone writes."""
    pieces = re.split(f"[{APOSTROPHES}]", word)
    return f"[{APOSTROPHES}]".join(map(re.escape, pieces))


def _is_iban(number: str) -> bool:
    """Return whether the check digits of an account number are right (ISO 13616)."""
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


def _is_card(number: str) -> bool:
    """Return whether the check digit of a card number is right (Luhn)."""
    digits = [int(sign) for sign in reversed(number)]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0
