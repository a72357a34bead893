"""Persona triples by rules: the extractor that needs no model. Relations are PersonaExt's labels.

First-person statements of ordinary English ("i have two dogs", "my favorite food is pizza"). High precision is the
aim: an invented fact steers the clustering and makes criterion replies that contradict nothing.
"""

import re
from collections.abc import Sequence

from idl_hf.schema import Triple

_I = r"(?<![\w'])(?<!wish )i"
_AM = rf"{_I}(?:'m|’m| am| was|m)"
_HAVE = rf"{_I}(?:'ve|’ve)?(?: (?:have|own|got|had))(?: got)?"
_OFTEN = r"(?: (?:really|just|also|still|mostly|usually|often|always|only|do|sure|truly|totally|absolutely|actually))*"
_ANIMAL = (
    r"(?:dog|cat|kitten|puppy|pup|horse|bird|parrot|goat|hen|chicken|rabbit|fish|turtle|snake|hamster|lizard|ferret|"
    r"pony|pig|cow|sheep|duck|bee|collie|terrier|retriever|poodle|tabby|pet)(?:s|es)?"
)
_FAMILY = (
    r"(?:wife|husband|son|sons|daughter|daughters|kid|kids|child|children|brother|brothers|sister|sisters|mom|mother|"
    r"mum|dad|father|parents|grandson|granddaughter|grandkids|grandchildren|grandma|grandmother|grandpa|grandfather|"
    r"uncle|aunt|niece|nephew|twins|cousin|girlfriend|boyfriend|fiance|fiancee)"
)
_FOOD = (
    r"(?:food|meal|dish|snack|dessert|pizza|pasta|burger|burgers|steak|sushi|chicken|cheese|chocolate|cake|pie|soup|"
    r"tacos|bread|fries|salad|fruit|curry|stew|noodles|cookies|ice cream|coffee|tea|beer|wine)"
)
_SPAN = r"(?P<object>[^\s.,!?;:]+(?: [^\s.,!?;:]+){0,4}?)"  # lazy: up to five words, as few as the ending needs
_END = (
    r"(?=\s*(?:[.,!?;:]|$)|\s+(?:and|but|so|because|since|when|while|who|that|which|with|for|too|also|now|though|or|as|"
    r"if|after|before|from|at|in|on|by|lol|haha|anyway|myself|every|these|right|then|to)\b)"
)

_RULES: tuple[tuple[str, str], ...] = (
    ("favorite_{kind}", rf"my (?:absolute )?favou?rite (?P<kind>\w+)(?: \w+)? (?:is|are|was|has to be) {_SPAN}{_END}"),
    ("favorite", rf"{_SPAN} (?:is|are) my (?:absolute |all time )?favou?rites?\b"),
    ("have_pet", rf"(?:{_HAVE}|my) (?P<object>(?:\w+ ){{0,3}}?{_ANIMAL})\b"),
    ("have_family", rf"(?:{_HAVE}|my) (?P<object>(?:\w+ ){{0,2}}?{_FAMILY})\b"),
    (
        "marital_status",
        rf"{_AM}{_OFTEN} (?P<object>(?:happily |recently |newly )?(?:married|divorced|single|engaged|widowed))\b",
    ),
    ("job_status", rf"{_AM}{_OFTEN} (?P<object>retired|unemployed|self employed|self-employed)\b"),
    (
        "physical_attribute",
        rf"{_AM}{_OFTEN} (?P<object>\d+ years old|\d\d\b|(?:very |so |pretty )?(?:tall|short|blonde|overweight|vegan|vegetarian|allergic to \w+))",
    ),
    ("has_profession", rf"{_AM}{_OFTEN} (?:an?|the) {_SPAN}{_END}"),
    ("has_profession", rf"{_I} (?:work|worked) as (?:an?|the) {_SPAN}{_END}"),
    (
        "employed_by_general",
        rf"{_I}{_OFTEN} (?:work|worked|volunteer|volunteered) (?:at|for|in|on|with) (?:an? |the |my )?{_SPAN}{_END}",
    ),
    (
        "has_profession",
        rf"{_I}{_OFTEN} (?P<object>(?:teach|drive|fix|repair|build|farm|keep|raise|run|sell|coach|study) (?:an? |the |my )?[^\s.,!?;:]+(?: [^\s.,!?;:]+){{0,2}}?){_END}",
    ),
    (
        "live_in_general",
        rf"{_I}(?:'m|’m)?{_OFTEN} (?:live|lived|living|grew up|was born|am from|come from|moved) (?:in |on |near |at |from |to |out in |by )?(?:an? |the )?{_SPAN}{_END}",
    ),
    ("live_in_general", rf"{_AM}{_OFTEN} (?:from|originally from) {_SPAN}{_END}"),
    (
        "dislike",
        rf"{_I}{_OFTEN} (?:hate|dislike|despise|(?:don't|don’t|do not|can't|can’t|cannot) (?:like|stand|eat)) (?:the |to )?{_SPAN}{_END}",
    ),
    (
        "want",
        rf"{_I}{_OFTEN} (?:hope to|dream of|plan to|want to (?:be|become|own|visit|travel)) (?:an? |the )?{_SPAN}{_END}",
    ),
    (
        "like_food",
        rf"{_I}{_OFTEN} (?:love|like|enjoy|eat|drink|cook|bake) (?:to eat )?(?P<object>(?:\w+ ){{0,2}}?{_FOOD})\b",
    ),
    (
        "like_activity",
        rf"{_I}{_OFTEN} (?:love|like|enjoy|adore|prefer)(?: to| doing)? (?:an? |the |my )?(?!you\b|that\b|it\b|this\b){_SPAN}{_END}",
    ),
    ("like_activity", rf"{_AM} (?:into|obsessed with|a (?:big |huge )?fan of) {_SPAN}{_END}"),
    (
        "has_ability",
        rf"{_I}{_OFTEN} (?P<object>(?:play|collect|paint|write|sing|dance|knit|read|hike|hunt|run|swim|surf|ski|skate|garden|draw|climb|travel|fish|compete|race|train|practice) ?(?:the |an? )?(?:[^\s.,!?;:]+)?(?: [^\s.,!?;:]+){{0,2}}?){_END}",
    ),
    ("own", rf"{_HAVE} (?P<object>(?:an? |two |three |four |five |\d+ )[^\s.,!?;:]+(?: [^\s.,!?;:]+){{0,2}}?){_END}"),
    ("name", r"my name is (?P<object>[^\s.,!?;:]+)"),
)
_COMPILED = tuple((relation, re.compile(pattern, re.IGNORECASE)) for relation, pattern in _RULES)
# Objects that show nothing of a person: moods, pleasantries, "a lot", "good time"
_EMPTY = re.compile(
    r"(?:an? )?(?:bit|little|lot|lots|ton|tons|couple|few)(?: .*)?|"
    r"(?:an? )?(?:(?:very|so|too|pretty|really|doing|just|quite) )*(?:good|great|fine|ok|okay|well|sorry|glad|happy|"
    r"sure|here|back|fun|it|that|this|them|you|him|her|one|same|way|too|so|not|to|been|do|all|mess|guess|blast|hand|"
    r"feeling|thing|things|something|anything|nothing|everything|(?:good |great |nice |hard |long |bad |bit |real )?"
    r"(?:time|times|day|night|one|idea|question|point|person|problem|plan|moment|second|luck))",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:an?|the|my|some) ", re.IGNORECASE)


def extract(utterances: Sequence[str]) -> list[list[Triple]]:
    """The triples each utterance states of its speaker, in order of appearance, objects verbatim."""
    return [_extract_one(utterance) for utterance in utterances]


def _extract_one(utterance: str) -> list[Triple]:
    found: dict[str, tuple[int, Triple]] = {}
    for relation, pattern in _COMPILED:
        for match in pattern.finditer(utterance):
            obj = _ARTICLE.sub("", match["object"].strip())
            if not obj or _EMPTY.fullmatch(match["object"].strip()) or _asked(utterance, match.end()):
                continue
            label = relation.format(**{k: v.casefold() for k, v in match.groupdict().items() if k == "kind"})
            # the first rule that claims a stretch keeps it: rules go from specific to general
            if not any(obj.casefold() in known or known in obj.casefold() for known in found):
                found[obj.casefold()] = (match.start("object"), Triple("i", label, obj))
    return [triple for _, triple in sorted(found.values(), key=lambda entry: entry[0])]


def _asked(utterance: str, position: int) -> bool:
    """Whether the sentence around `position` is a question ("what do i like ?"), which states nothing."""
    end = re.search(r"[.!?]", utterance[position:])
    return end is not None and end.group() == "?" and " you" not in utterance[position : position + end.start()]
