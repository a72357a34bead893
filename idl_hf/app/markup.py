"""The HTML of dialogues, facts and reasons. Every text of a person or a model is escaped in it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from idl_hf.corpora.import_chats import Account
from idl_hf.explore.show import PersonView
from idl_hf.persona.triples import format_triples
from idl_hf.rows.people import People, usable_dialogues
from idl_hf.schema import Dialogue, Person, Triple, Turn
from idl_hf.shown import scrub, visible

if TYPE_CHECKING:  # who judges needs no model
    from idl_hf.chat.persona_chat import PersonaChat
    from idl_hf.chat.reasons import Reason

_MOST = 100  # dialogues at once: a browser is slow with thousands
_STRONGEST = 0.55  # opacity behind the line that a reply leans on most
CSS = """
.idl h3 { margin: 0.2em 0 0.4em; font-size: 1.1em }
.idl h4 { margin: 1.2em 0 0.3em }
.idl p { margin: 0.25em 0 }
.idl pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.4em 0 }
.idl details { border: 1px solid var(--border-color-primary); border-radius: 8px; margin: 0.4em 0 }
.idl details { padding: 0.4em 0.8em }
.idl table, .idl tr, .idl td { border: 0 !important }
.idl td { padding: 0.1em 1.5em 0.1em 0 !important; vertical-align: top }
.idl td + td { text-align: right; font-variant-numeric: tabular-nums }
.idl summary { cursor: pointer; overflow-wrap: anywhere }
.idl .line { padding: 0.2em 0.5em; border-radius: 6px; overflow-wrap: anywhere; white-space: pre-wrap }
.idl .who { font-weight: 600 }
.idl .quiet, .idl .fact, .idl .fall { color: var(--body-text-color-subdued); font-size: 0.9em }
.idl .shows { border-left: 3px solid var(--color-accent) }
.idl .fall { font-variant-numeric: tabular-nums; float: right; margin-left: 0.8em }
"""


def shown(text: str) -> str:
    """Return a text for HTML, in attributes too: none of it is a tag, an entity or a quote, or turns the writing."""
    return escape(visible(text))


def block(*parts: str) -> str:
    """Return parts of HTML as one block in the look of this page."""
    return f'<div class="idl">{"".join(parts)}</div>'


def sentence(text: str) -> str:
    """Return a plain sentence as a block."""
    return block(f"<p>{shown(text)}</p>")


def lines_block(title: str, lines: Sequence[str]) -> str:
    """Return lines, white space included, under a title."""
    return block(f"<h4>{shown(title)}</h4>", f"<pre>{shown(chr(10).join(lines))}</pre>")


def account_block(account: Account) -> str:
    """Return what became of the messages of an export."""
    rows = "".join(f"<tr><td>{shown(name)}</td><td>{count:,}</td></tr>" for name, count in account.numbers.items())
    remarks = "".join(f"<p>{shown(scrub(remark))}</p>" for remark in account.remarks)
    return block(f"<h4>{shown(scrub(account.title))}</h4><table>{rows}</table>{remarks}")


def person_block(person: Person, chat: "PersonaChat") -> str:
    """Return a person's dialogues by cluster, with the facts that their lines state."""
    options = chat.options
    people = People([person], chat.encoder, options.extractor)
    left_out: Counter[str] = Counter()
    usable = {dialogue.dialogue_id for dialogue in usable_dialogues(person, left_out)}
    view = PersonView(person, {}, left_out, people, options)
    names = [dialogue.dialogue_id for dialogue in person.dialogues if dialogue.dialogue_id in usable]
    clusters = view.clusters(names) if names else {}
    groups: dict[int | None, list[Dialogue]] = {label: [] for label in sorted(set(clusters.values()))}
    for dialogue in person.dialogues[:_MOST]:
        groups.setdefault(clusters.get(dialogue.dialogue_id), []).append(dialogue)
    parts = [f"<h3>{shown(person.person_id)}: {_count(len(person.dialogues), 'dialogue')}</h3>"]
    parts.append(
        "<p class='quiet'>Dialogues of one cluster show a like side of the person; a reply is given references of "
        "one cluster. A bar marks a line that shows the persona, with the fact that was found in it.</p>"
    )
    if len(person.dialogues) > _MOST:
        parts.append(f"<p>Shown are the first {_MOST} of {len(person.dialogues)} dialogues.</p>")
    parts += [f"<p>Left out of references: {count} x {shown(why)}.</p>" for why, count in (+left_out).items()]
    for label, dialogues in groups.items():
        if dialogues:
            title = "Left out of references" if label is None else f"Cluster {label + 1}"
            parts.append(f"<h4>{title}: {_count(len(dialogues), 'dialogue')}</h4>")
            parts += [_dialogue(dialogue, _told(dialogue, people)) for dialogue in dialogues]
    return block(*parts)


def _told(dialogue: Dialogue, people: People) -> list[str]:
    """Return the lines of a dialogue with their facts."""
    shows = people.shows_persona(dialogue.turns)
    facts = [
        people.triples([turn.text])[0] if shown_ else [] for turn, shown_ in zip(dialogue.turns, shows, strict=True)
    ]
    return [
        _line(turn, dialogue, after=_fact(triples)) if triples else _line(turn, dialogue)
        for turn, triples in zip(dialogue.turns, facts, strict=True)
    ]


def _fact(triples: list[Triple]) -> str:
    return f' <span class="fact">{shown(" ".join(format_triples(triples).split(chr(10))))}</span>'


def references_block(chat: "PersonaChat", reasons: Sequence["Reason"] = ()) -> str:
    """Return the references of the last reply in the order of the prompt, and of which lines it leans on how much."""
    if not chat.references:
        return block(
            "<h3>References</h3>",
            "<p class='quiet'>Once the first message is answered, the past dialogues that the model was shown are "
            "here.</p>",
        )
    falls = {(reason.dialogue_id, reason.turn): reason.fall for reason in reasons}
    of_dialogues = {reason.dialogue_id: reason.dialogue_fall for reason in reasons}
    parts = ["<h3>References</h3>"]
    of_what = "what the person says in these past dialogues" if chat.options.own_turns else "these past dialogues"
    parts.append(_explained(falls) if falls else f"<p class='quiet'>The model was shown {of_what}.</p>")
    for place, dialogue in enumerate(chat.references):
        if place < chat.dropped_references:
            note = "did not fit into the prompt"
        else:
            fall = of_dialogues.get(dialogue.dialogue_id)
            note = "" if fall is None else f"{fall:+.2f} nats"
        lines = [_leaned_on(turn, dialogue, i, falls) for i, turn in enumerate(dialogue.turns)]
        parts.append(_dialogue(dialogue, lines, note, is_open=dialogue.dialogue_id in of_dialogues))
    return block(*parts)


def _explained(falls: Mapping[tuple[str, int], float]) -> str:
    return (
        f"<p>The number is by how many nats the last reply is less likely without the line, {len(falls)} lines "
        "having been left out one by one; the stronger the colour, the more the reply leans on it. Beside a "
        "dialogue: without all of it.</p>"
    )


def _leaned_on(turn: Turn, dialogue: Dialogue, place: int, falls: Mapping[tuple[str, int], float]) -> str:
    fall = falls.get((dialogue.dialogue_id, place))
    if fall is None:
        return _line(turn, dialogue)
    most = max(falls.values())
    share = max(0.0, fall / most) if most > 0 else 0.0
    colour = f"background: rgb(255 170 0 / {_STRONGEST * share:.2f})"
    return _line(turn, dialogue, style=colour, before=f'<span class="fall">{fall:+.2f}</span>')


def _dialogue(dialogue: Dialogue, lines: Sequence[str], note: str = "", is_open: bool = False) -> str:
    partner = f", with {dialogue.partner_id}" if dialogue.partner_id else ""
    time = f", {dialogue.turns[0].time}" if dialogue.turns[0].time else ""
    about = shown(f"{partner}{time}, {_count(len(dialogue.turns), 'line')}{', ' if note else ''}{note}")
    summary = f"<b>{shown(dialogue.dialogue_id)}</b><span class='quiet'>{about}</span>"
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>{''.join(lines)}</details>"


def _line(turn: Turn, dialogue: Dialogue, before: str = "", after: str = "", style: str = "") -> str:
    """Return a turn with what stands before and after it; what stands after it marks it."""
    who = dialogue.person_id if turn.role == "self" else turn.speaker or dialogue.partner_id or "partner"
    kind = "line shows" if after else "line"
    said = f'<span class="who">{shown(who)}:</span> {shown(turn.text)}'
    return f'<div class="{kind}" style="{style}">{before}{said}{after}</div>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"
