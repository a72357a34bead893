"""Persona triples by rules: the extractor that needs no model. Relations are PersonaExt's labels.
First-person statements of ordinary English ("i have two dogs", "my favorite food is pizza"). A rule says where it
begins, what it states and by which words; the kind of thing its object is then makes the relation more exact.
Precision comes first: an invented fact steers the clustering and makes criterion replies that contradict nothing."""

import re
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from idl_hf.persona.kinds import KINDS, exact_relation
from idl_hf.schema import Triple, plain

_WORD = r"[^\s.,!?;:]{1,25}"
_COUNT = r"(?:an?|another|two|three|four|five|six|seven|eight|nine|ten|some|several|many|\d+)"
_END = (
    r"(?=\s*(?:[.,!?;:]|$)|\s+(?:and|but|so|because|since|when|while|who|that|which|with|for|too|also|now|though|or|"
    r"as|if|after|before|from|at|in|on|by|lol|haha|anyway|myself|every|these|right|then|to|i|i['’]m|my|we|is|are|was|"
    r"has|have|had|they|he|she|it|its|during|sometimes|currently|where|whenever|how|what|not|\w+n['’]t|like|about|all|"
    r"a lot|until|than|today|tomorrow|yesterday|soon|someday|actually|again|much|just|really|will|can|would)\b)"
)
# As short as it can end
_TWO, _THREE, _FIVE = (rf"(?P<object>{_WORD}(?: {_WORD}){{0,{n}}}?){_END}" for n in (1, 2, 4))
_CLAUSE = r"(?:^|(?<=[.,!?;:] )|(?<=\band )|(?<=\bbut )|(?<=\bbecause ))"
_FAVORITE = r"(?<!not )my (?:(?:absolute|all time|current|personal) )?fav(?:e|ou?rite|orit)?s?\b"
_LIKE = r"(?:love|like|enjoy|adore|prefer|loved|liked|enjoyed)"
_NOT = r"(?:do not|don['’]?t|can['’]?t|cannot|can not|never)(?: really| even)?"
_DOING = (
    r"(?:(?:playing|reading|watching|studying|practicing|painting|writing|baking|listening to|training|riding|walking|"
    r"learning|teaching|raising|building|knitting|gardening|singing|dancing|hiking|fishing|hunting|swimming|running|"
    r"jogging|shopping|drawing|volunteering|expecting|retiring|collecting|skiing|racing|preparing for)"
    rf"(?: my| the)?(?: {_WORD}){{0,4}}?)"
)
_LINK = r"(?:and|or|of|to|was|is|will|so|but|as|at|in|on|most|it|that|this|them|you|him|her|one|those)"
# Verbs of mind, speech and moment, which tell no habit; and what follows "i" and is no verb
_NO_HABIT = (
    rf"(?:{_LINK}|\w+ed|\w+ly|\w*['’]\w+|am|were|are|have|had|has|got|get|been|do|does|did|done|would|could|should|"
    r"can|may|might|must|know|knew|think|thought|guess|see|saw|understand|hope|bet|agree|disagree|mean|meant|feel|felt|"
    r"say|said|tell|told|ask|hear|heard|wish|want|wanna|need|remember|forgot|forget|suppose|believe|imagine|wonder|"
    r"love|like|hate|enjoy|look|sound|seem|try|doubt|promise|swear|apologize|appreciate|assume|consider|suggest|figure|"
    r"thank|care|miss|went|go|never|not|cannot|too|if|with|for|well|gotta|gonna|found|find|keep|kept|came|come|left|"
    r"made|took|gave|put|became|stay|stop|quit|ever|already|once|all|my|your|an?|the|they|i|we|he|she|his|both|then|"
    r"rather|please|move|live|thats|how|what|why|when|where|who|plan|dislike|prefer|met|ate|lost|won|broke|dont|just|"
    r"recommend|grew|work)"
)
_I = r"(?<![\w'’])(?<!\bif )(?<!\bwish )(?<!\bdo )(?<!\bdid )(?<!\bcan )(?<!\bshould )(?<!\bwould )(?:i|we)"
_OFTEN = (
    r"(?: (?:really|just|also|still|mostly|usually|often|always|only|sure|truly|totally|absolutely|actually|currently|"
    r"so|sometimes|very|both|mainly|even|kinda|definitely|recently|"
    r"do(?= (?:also|really|like|love|enjoy|have|work|play|eat))))*"
)
# The rest of the clause after "i", as long as nobody else comes in and nothing is denied
_ON = r"(?:['’]\w+)?(?: (?!(?:not|never|you|it|that|there|he|she|they|this|\w+n['’]t)\b)[\w'’]+){0,5}?"
_PLACES = {
    "we": rf"{_I}\b",
    "i": rf"{_I}{_OFTEN} ",
    "am": rf"{_I}(?:['’]m| am| m|m| was|['’]re| are|['’]ve been| have been){_OFTEN} ",
    "have": rf"{_I}(?:(?:['’]ve)?{_OFTEN} (?:have|own|got|had|bought|adopted)(?: got)? |"
    rf"['’]ve (?:got |(?={_COUNT} )))",
    "my": r"\b(?:my|our) ",
}


def _things(*kinds: str) -> str:
    """Return the pattern of an object that ends in a thing of these kinds, however the clause goes on."""
    words = "|".join(word for kind in kinds for word in KINDS[kind].split())
    before = rf"(?!(?:{_LINK}|are|were|with|i|for|who|has|have|had|loves?|likes?|not|no|name|the|an?|my|his) ){_WORD} "
    after = r"\b(?! (?:farm|house|shelter|walker|sitter|in law)s?\b)"
    return rf"(?P<object>(?:an? )?(?:{before}){{0,3}}?(?:{words})(?:s|es)?){after}"


_OWNED = _things("animal", "child", "sibling", "family", "partner", "vehicle", "body", "health")
# Where a rule begins, the relation, the words: from special to general, since the first to claim a stretch keeps it
_RULES: tuple[tuple[str, str, str], ...] = (
    ("my", "name", r"name(?: is|'s) (?P<object>[^\s.,!?;:]{1,25})"),
    ("", "favorite_{kind}", rf"\b{_FAVORITE} (?P<kind>\w+)(?: {_WORD}){{0,3}}? (?:is|are|was|has to be) {_FIVE}"),
    ("", "favorite", rf"\b(?:{_FAVORITE}|mine) (?:is|are|was|has to be|would be) (?!\d){_FIVE}"),
    ("", "favorite", rf"{_CLAUSE}(?P<object>{_WORD}(?: {_WORD}){{0,3}}?)"
     rf"(?: is| are|'s| has always been)(?: \w+)? {_FAVORITE}"),
    ("", "like", rf"{_CLAUSE}(?P<object>{_WORD}(?: {_WORD}){{0,3}}?)"
     r"(?: is| are) my (?:\w+ )?(?:passion|hobby|love|weakness)\b"),
    ("my", "like_activity", rf"(?:\w+ )?(?:hobby|hobbies|passion|pastime) (?:is|are|include) (?:to )?{_FIVE}"),
    ("am", "physical_attribute",
     r"(?:(?:almost|about|over|gonna be|turning) )?(?P<object>\d{1,3}(?: y(?:ea)?rs? old)?)\b"),
    ("am", "physical_attribute",
     r"(?:an? )?(?P<object>(?:very |so |pretty |too |quite )?(?:tall|short|blonde?|brunette|bald|"
     r"overweight|skinny|muscular|strong|old|color ?blind|left handed)|\d+ year old|allergic to \w+)\b"),
    ("am", "diet", rf"(?:an? )?(?P<object>(?:{_WORD} )?(?:vegan|vegetarian))\b"),
    ("we", "health_status", rf"{_ON} (?P<object>pregnant|diabetic|deaf|disabled|alcoholic)\b"),
    ("am", "marital_status",
     r"(?P<object>(?:happily |recently |newly )?(?:married|divorced|single|engaged|widowed))\b"),
    ("we", "marital_status", rf"{_ON} (?:get|got|getting) (?P<object>married|divorced|engaged)\b"),
    ("am", "job_status", r"(?P<object>retired|unemployed|self[ -]employed)\b"),
    ("am", "like",
     rf"an? (?:(?:big|huge|real) )*(?P<object>{_WORD}(?: {_WORD})?) (?:lover|person|fan|addict|buff)\b(?! of)"),
    ("am", "like",
     rf"(?:a (?:big |huge )?fan of|into|obsessed with|addicted to|fond of|crazy about|interested in) {_FIVE}"),
    ("i", "used_to", rf"used to be an? {_FIVE}"),
    ("we", "want_job", rf"{_ON} (?:to be|to become|be|becoming|being) an? {_FIVE}"),
    ("we", "attend_school", rf"{_ON} (?:to|in|at|attend|finished|graduated|for|into) (?:my |the )?"
     rf"(?P<object>(?:(?!(?:{_LINK}|an?|for|my|the|between) ){_WORD} ){{0,2}}?(?:school|college|university|grade))\b"),
    ("am", "has_profession", rf"(?:an?|the) (?!(?:kid|child|baby|youngest|oldest)\b){_FIVE}"),
    ("we", "has_profession", rf"{_ON} (?:work|working|worked|became|started)(?: as)? an? {_FIVE}"),
    ("i", "has_profession",
     rf"(?P<object>(?:teach|repair|build|sell|coach) (?!{_LINK}\b){_WORD}(?: {_WORD}){{0,3}}?){_END}"),
    ("i", "has_profession", rf"(?P<object>{_WORD}(?: {_WORD}){{0,4}}?) for a living\b"),
    ("we", "employed_by", rf"{_ON} (?:work|working|worked|employed)(?: \w+ time| nights)?"
     rf" (?:at|for|in|on|with|by|from) {_FIVE}"),
    ("we", "employed_by_general", rf"{_ON} volunteer(?:ing|ed)? (?:at|for|in|on|with) {_FIVE}"),
    ("we", "live_in", rf"{_ON} (?:live|lived|living|grew up|was born|was raised|come from|moved|moving)"
     rf"(?: (?:here|out|back|up|down|over|close|right|far))* (?:in|on|near|at|from|to|into|by) {_FIVE}"),
    ("am", "live_in", rf"(?:originally )?(?:from|(?:close to|near)(?= the )) {_FIVE}"),
    ("am", "live_in", rf"in (?!(?:love|bed|need|pain|trouble|debt|charge|shape|class|town|my|an?|the|no|it)\b){_TWO}"),
    ("i", "dislike", rf"(?:hate|dislike|despise|detest|loathe|{_NOT} (?:like|stand|eat|enjoy|drink|care for))"
     rf"(?: to| the)? {_FIVE}"),
    ("am", "dislike",
     rf"(?:not (?:\w+ )?(?:fan of|into|fond of|crazy about|good at)|(?:afraid|scared|terrified) of) {_FIVE}"),
    ("we", "want_do", rf"(?:(?:['’]m| am| would)?{_OFTEN} (?:hope|hoping|want|wanting|planning|plan|dream)|"
     rf"(?:['’]d| would){_OFTEN} (?:love|like)| can(?:['’]?t| ?not) wait) (?:to|of) "
     r"(?!(?:hear|know|say|ask|tell|talk|chat|meet|see|do|be able)\b)"
     rf"(?:be |own |visit |buy |get |adopt |have )?{_FIVE}"),
    ("", "want_do", rf"\bwish i (?:could|had (?:the )?time to|was able to) {_FIVE}"),
    ("am", "want_do", rf"(?:thinking (?:of|about)|planning on|looking into) {_FIVE}"),
    ("i", "want_do", rf"(?:want|need) {_COUNT} {_TWO}"),
    ("i", "have_vehicle", rf"drive (?=(?:an?|my|the) ){_FIVE}"),
    ("i", "like", rf"{_LIKE}(?: to| eating| drinking)? {_things('animal', 'food', 'drink', 'color')}"),
    ("i", "like_watching", rf"(?:{_LIKE} )?(?:to watch|watching|watch) {_THREE}"),
    ("i", "like_read", rf"(?:{_LIKE} )?(?:to read|reading|read) {_THREE}"),
    ("i", "like", rf"(?:{_LIKE} )?(?:to listen to|listening to|listen to) {_THREE}"),
    ("i", "like_activity", rf"{_LIKE} (?:to go(?: to| on)?|to|doing|going(?: to)?) {_FIVE}"),
    ("i", "like", rf"{_LIKE} (?:me )?{_FIVE}"),
    ("have", "own", _OWNED),
    ("my", "own", _OWNED),
    ("have", "own", rf"(?=(?:{_COUNT}|my own) ){_FIVE}"),
    ("my", "own", rf"(?<!\bis my )(?<!\bare my )(?<!\bnot my )(?!own\b|fav){_THREE}"),
    ("i", "like_food", rf"(?:eat|cook|bake|drink) {_THREE}"),
    ("i", "like_goto", rf"(?:go|travel) to (?!(?:bed|sleep|work)\b){_THREE}"),
    ("am", "like_activity", rf"(?P<object>{_DOING}){_END}"),
    ("", "like_activity", r"(?:^|(?<=[.,!?;:] ))(?:just )?(?![^.!?]{0,50} (?:is|are|like|takes)\b)"
     rf"(?P<object>{_DOING}){_END}"),
    ("", "like_activity", rf"\bgot back from {_THREE}"),
    ("i", "like_activity",
     rf"(?:go|do|do some|spend(?: {_WORD}){{1,6}}?) (?P<object>\w{{3,20}}ing(?: {_WORD}){{0,2}}?){_END}"),
    ("i", "has_ability", r"(?:can )?(?P<object>(?:play|sing|dance|write|paint|draw|knit|sew|swim|speak|collect|hunt|"
     rf"fish|surf|ski|skate|climb|run|race|train)\b(?: {_WORD}){{0,4}}?){_END}"),
    ("i", "like_activity",
     rf"(?P<object>(?!{_NO_HABIT}\b)[a-z]{{3,20}} (?!{_LINK}\b){_WORD}(?: {_WORD}){{0,3}}?){_END}"),
    ("", "like", rf"\bdo you (?:like|love|enjoy) (?:to )?{_THREE}[^?]{{0,20}}\? "
     r"(?:\w+ ,? ?)?i (?:do|love|like|enjoy)\b(?! not)"),
)  # fmt: skip
_COMPILED = tuple((place, relation, re.compile(pattern, re.IGNORECASE)) for place, relation, pattern in _RULES)
_STARTS = {place: re.compile(pattern, re.IGNORECASE) for place, pattern in _PLACES.items()}
_MORE = re.compile(rf"(?: ,)? (?:and|or) (?:{_COUNT} |to |my )?(?!{_NO_HABIT}\b){_TWO}", re.IGNORECASE)  # and a dog
_LISTED = ("like", "own", "dislike", "like_activity", "has_ability")
# Objects that show nothing of a person: moods, pleasantries, "a lot", "good time"
_EMPTY = re.compile(
    r"(?:an? )?(?:bit|little|lot|lots|ton|tons|couple|few)(?: .*)?|"
    r"(?:(?:an?|my|the|so|really) )*(?:(?:very|so|too|pretty|really|doing|just|quite) )*(?:good|great|fine|ok|okay|"
    r"well|bad|sorry|glad|happy|sure|here|there|back|fun|me|one|same|too|so|not|to|been|do|all|mess|guess|blast|hand|"
    r"feeling|mind|something|anything|nothing|everything|god|goodness|gosh|break|opinion|life|head|turn|pleasure|"
    r"friend|name|self|best|kind|own|heart|feet|money|ability|work|job|age|play|try|keep|much|though|someday|"
    r"(?:good |great |nice |hard |long |bad |bit |real |free |spare )?(?:times?|days?|night|one|idea|question|point|"
    r"person|problem|plan|moment|second|luck|things?))|"
    r"(?:\w+ )?(?:hobby|hobbies|passion|pastime|goal|dream|weakness|love|cup of tea)|"
    r"(?:you|yours?|he|him|her|that|it|this|them|how|why|what|who|when|where|to|the way)\b.*",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:an?|the|my|our|some) ", re.IGNORECASE)


class _Claim(NamedTuple):
    start: int
    end: int
    triple: Triple


def extract(utterances: Sequence[str]) -> list[list[Triple]]:
    """Return the triples each utterance states of its speaker, in order of appearance.
    Objects are verbatim, up to the kinds of apostrophes and of white space."""
    return [_extract_one(plain(utterance)) for utterance in utterances]


def _extract_one(utterance: str) -> list[Triple]:
    places = {place: [match.end() for match in start.finditer(utterance)] for place, start in _STARTS.items()}
    claims: dict[str, _Claim] = {}
    for place, relation, pattern in _COMPILED:
        for match in map(pattern.match, repeat(utterance), places[place]) if place else pattern.finditer(utterance):
            if match is not None and not _asked(utterance, match.end()):
                kind = match.groupdict().get("kind", "").casefold()
                _claim(claims, relation.format(kind=kind), match)
                if relation in _LISTED and (more := _MORE.match(utterance, match.end("object"))):
                    _claim(claims, relation, more)
    return [claim.triple for claim in sorted(claims.values(), key=lambda claim: (claim.start, claim.end))]


def _claim(claims: dict[str, _Claim], relation: str, match: re.Match[str]) -> None:
    """Keep what a match states, unless it shows nothing or an earlier rule has claimed the stretch or the object."""
    start, end = match.span("object")
    obj = _ARTICLE.sub("", match["object"])
    claimed = obj.casefold() in claims or any(start < claim.end and claim.start < end for claim in claims.values())
    if not claimed and not _EMPTY.fullmatch(match["object"]):
        triple = Triple("i", exact_relation(relation, match["object"].casefold()), obj)
        claims[obj.casefold()] = _Claim(start, end, triple)


def _asked(utterance: str, position: int) -> bool:
    """Return whether the clause around `position` is a question ("what do i like ?"), which states nothing."""
    end = re.search(r"[.!?,]", utterance[position:])
    return end is not None and end.group() == "?" and " you" not in utterance[position : position + end.start()]
