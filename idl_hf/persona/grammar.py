"""The grammar of objects of triples: which may stand in one another's place, and which say the same thing.
English by a few rules. An object is known by how it stands where it was said: after which article, in which number, as
a noun, a gerund ("going hiking") or a verb ("to hike"). Only objects that stand alike are swapped, so that article,
number and verb form stay right; what does not look like an object to these rules has no form, and is not swapped."""

import re
from collections.abc import Set
from typing import NamedTuple

from idl_hf.persona.kinds import KINDS
from idl_hf.schema import Triple, plain

_NUMBERS = "one two three four five six seven eight nine ten".split()
_IRREGULAR = {
    "people": "person", "children": "child", "kids": "child", "kid": "child", "men": "man", "women": "woman",
    "feet": "foot", "teeth": "tooth", "mice": "mouse", "geese": "goose", "wives": "wife", "knives": "knife",
    "movies": "movie", "cookies": "cookie", "smoothies": "smoothie", "shoes": "shoe", "veggies": "vegetable",
}  # fmt: skip
# Singular, though they end in s
_SINGULAR = set(
    "news series texas kansas arkansas paris gymnastics physics politics tennis mathematics economics "
    "christmas".split()
)
_DETERMINERS = {
    "a": "a", "an": "a", "another": "a", "the": "the", "some": "", "any": "", "many": "", "several": "", "all": "",
} | dict.fromkeys("my our his her your their".split(), "my")  # fmt: skip
_LEADING = re.compile(r"^(?:an?|the|my|our|some|another) ", re.IGNORECASE)
# What may follow an object; after anything else it goes on, as "red" does in "a red sweater"
_END = re.compile(
    r"\s*(?:$|[^\w\s'’]|(?:and|or|but|so|because|since|when|while|who|that|which|with|for|too|also|now|though|as|if|"
    r"after|before|from|at|in|on|by|to|until|than|then|where|is|are|was|were|has|have|had|i|i['’]\w+|we|you|they|he|"
    r"she|it|my|myself|every|all|right|again|lol|haha|today|outside|like|about|over|just|really|will|can|would|not|"
    r"most)\b)",
    re.IGNORECASE,
)
_PART = re.compile(r"\s*,\s*\w+(?: \w+)?\s*(?:[.,!?]|$)")  # "charlotte , north carolina"
# No object has one of these in it, or is cut out wrongly
_BROKEN = set(
    "i we you he she they it me us him them mine yours that this these those there here who what which where when why "
    "how others is are was were am be been being do does did doing have has had having will would can could should "
    "get gets got getting go goes went and or but so if then than as because not no never too also just only really "
    "very pretty quite almost about now still together alone back again much more better best lot lots bit kind sort "
    "everything anything something nothing everyone someone well fine sure ok okay lol haha yes yeah hi hello thanks "
    "sometimes always often usually ever soon today tonight tomorrow yesterday ago week weekend weekends month year "
    "years day days time times one ones out up down off away over home way things thing stuff such place places most "
    "least stay".split()
)
_PREPOSITIONS = set("of in with for from on at to by near into around".split())
# Words of an object that are not what it is about
_LITTLE = _BROKEN | _PREPOSITIONS | _DETERMINERS.keys() | set(_NUMBERS) | set(
    "new old big small little young good great nice favorite favourite own first last few huge real long short next "
    "other different various main whole local large free".split()
)  # fmt: skip
_VERB_AFTER = set("to i we can i've i'd also just usually sometimes mostly still often".split())  # "to cook", "i cook"
_GOING = set("go goes going went come travel traveling moved moving listen listening trip been back".split())  # "to"
_EATEN = set("eat eats eating ate drink drinks drinking drank cook cooking".split())
_ROLES = {
    "in": "in", "from": "in", "near": "in", "into": "in",
    "at": "at", "on": "on", "for": "for", "with": "for", "by": "for",
}  # fmt: skip
_PLACES = ("live_in", "place_origin", "employed_by", "like_goto", "international_exp", "pre_employed_by")
_DONE = ("like_activity", "dislike_activity", "has_ability", "want_do", "do_not_do")
_ADJECTIVES = ("marital_status", "job_status", "physical_attribute", "health_status", "name")


class Form(NamedTuple):
    """How an object stands in an utterance."""

    shape: str  # "singular", "plural", "gerund", "verb", "age", or for adjectives their relation
    article: str = ""  # "a", "the", "my"
    role: str = ""  # "eaten" of what is eaten or drunk; of places "in", "at", "on", "for"


class Count(NamedTuple):
    """How many there are of some things."""

    number: int
    word: str  # the number as it is said
    things: str


def form(triple: Triple, utterance: str) -> Form | None:
    """Return how the triple's object stands in the utterance, None where it cannot be swapped."""
    utterance = plain(utterance)
    words, match = bare(triple.object).casefold().split(), _find(triple.object, utterance)
    if match is None or not words:
        return None
    if triple.relation == "physical_attribute" and words[0].isdigit():
        return Form("age", "", " ".join(words[1:]))
    if len(words) > 4 or _BROKEN & set(words) or {words[0], words[-1]} & _PREPOSITIONS or not content(triple.object):
        return None
    second, last = ["", "", *utterance[: match.start()].casefold().split()][-2:]
    article = _DETERMINERS.get(last)
    if last in _NUMBERS or last.isdigit():
        return None
    if triple.relation in _ADJECTIVES:
        return Form(triple.relation) if article is None else None
    if last in _VERB_AFTER and not (last == "to" and second in _GOING):
        return None if triple.relation.startswith(_PLACES) else Form("verb")
    if _is_gerund(words[0]):
        return Form("gerund") if article is None else None
    if _is_gerund(words[-1]) or (triple.relation in _DONE and last in ("and", "or", ",", "")):
        return None
    if triple.relation.startswith(_PLACES) and _PART.match(utterance, match.end()):
        return None
    role = _role(triple.relation, last if article is None else second, article)
    return Form("plural" if _is_plural(words) else "singular", article or "", role)


def fits(old: Form | None, new: Form | None) -> bool:
    """Return whether an object of the form `new` may stand in the place of one of the form `old`."""
    if old is None or new is None or old.shape != new.shape:
        return False
    # "at a bar" and "on a farm", but not "at a bar" and "in the south"
    if old.role != new.role and not (old.role == "at" and new.role in ("in", "on") and new.article == "a"):
        return False
    # "my dogs" and "cats", "my dog" and "a cat", but not "a dog" and "my music"
    return old.article == new.article or old.shape == "plural" or (old.article in ("the", "my") and new.article == "a")


def swap(text: str, old: str, new: str) -> str | None:
    """Return the text with `new` for `old` where it first stands as whole words, an article before it in agreement."""
    match = _find(old, text) or _find(old, text := plain(text))
    if match is None:
        return None
    start, new = match.start(), bare(new)
    if article := re.search(r"\ban?\s+$", text[:start], re.IGNORECASE):
        start, new = article.start(), f"{_article(new)} {new}"
    begins = text[start].isupper() and re.search(r"(?:^|[.!?]\s+)$", text[:start])
    return text[:start] + (new[:1].upper() + new[1:] if begins else new) + text[match.end() :]


def before(obj: str, utterance: str) -> str:
    """Return what the utterance says before the object."""
    utterance = plain(utterance)
    match = _find(obj, utterance)
    return utterance[: match.start()] if match else ""


def bare(obj: str) -> str:
    """Return the object without its article."""
    return _LEADING.sub("", obj)


def counted(obj: str) -> Count | None:
    """Return how many things an object is, from "two dogs" to "12 dogs", None for any other."""
    word, _, things = obj.partition(" ")
    number = int(word) if word.isdigit() else _NUMBERS.index(word) + 1 if word in _NUMBERS else 0
    return Count(number, word, things) if things and 2 <= number <= 12 else None


def singular(word: str) -> str:
    """Return the singular of a noun, good enough to tell whether two words are one thing."""
    if word in _IRREGULAR or word in _SINGULAR:
        return _IRREGULAR.get(word, word)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def content(text: str) -> set[str]:
    """Return the stems of the words that say something: what "a teacher" and "teaching" have in common."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"'\w+", "", plain(text).casefold()))
    return {_stem(singular(word)) for word in words if word not in _LITTLE}


def kinds(text: str) -> set[str]:
    """Return the kinds of things that a text names."""
    return {_KIND[word] for word in content(text) if word in _KIND}


def share(some: Set[str], others: Set[str]) -> bool:
    """Return whether two contents name the same thing.
    They do by a stem in common, or one by its kind ("pets") where the other has one of that kind ("cat")."""
    by_kind = (
        _KINDS_NAME[kind] == _KIND.get(stem)
        for these, those in ((some, others), (others, some))
        for kind in these & _KINDS_NAME.keys()
        for stem in those
    )
    return bool(some & others) or any(by_kind)


def _stem(word: str) -> str:
    cut = re.fullmatch(r"(\w{3,}?)(?:ing|ers?|ist|ed|e|y)", word)
    stem = cut[1] if cut else word
    return (stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem)[:5]


_KIND = {_stem(singular(word)): kind for kind, words in KINDS.items() for word in words.split()}
# The words that name a kind as a whole
_KINDS_NAME = {_stem(kind): kind for kind in ("animal", "child", "sibling", "family", "food", "drink")}
_KINDS_NAME |= {_stem("pet"): "animal", _stem("parent"): "family"}


def _find(obj: str, utterance: str) -> re.Match[str] | None:
    """Return where the object first stands as whole words that do not go on."""
    whole = re.compile(rf"(?<![\w'’]){re.escape(plain(bare(obj)))}(?!\w)", re.IGNORECASE)
    return next((match for match in whole.finditer(utterance) if _END.match(utterance, match.end())), None)


def _role(relation: str, governor: str, article: str | None) -> str:
    if governor in _EATEN:
        return "eaten"
    if not relation.startswith(_PLACES):
        return ""
    if relation.startswith("employed_by") and article is None:
        return "trade"  # "in finance", where nobody lives
    return _ROLES.get(governor, "at" if article else "to")  # "to the gym": "at the gym"


def _is_gerund(word: str) -> bool:
    nouns = r"\w?ing|\w*thing|(?:even|morn|wedd|build|cloth|sibl|ceil|br|st|sw|spr|str)ing"
    return word.endswith("ing") and not re.fullmatch(nouns, word)


def _is_plural(words: list[str]) -> bool:
    end = next((i for i, word in enumerate(words) if i and word in _PREPOSITIONS), None)
    head = words[:end][-1]  # the noun before any preposition
    return head != "kid" and singular(head) != head


def _article(phrase: str) -> str:
    sounded = r"[aio]|e(?!u|we)|u(?!ni|s|k|ti)|h(?:our|onest|eir)|8|11\b|18\b"
    return "an" if re.match(sounded, phrase, re.IGNORECASE) else "a"
