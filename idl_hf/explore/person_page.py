"""The page of `idl-hf show --html`: what the rows see of one person, in one file that fetches nothing."""

from collections.abc import Iterator
from html import escape

from idl_hf.cache import write_whole
from idl_hf.explore.dataset import PromptCounter
from idl_hf.explore.show import (
    ABOUT_FACTS,
    ABOUT_REFERENCES,
    PersonView,
    PromptPart,
    PromptView,
    ShowArguments,
    about_target,
    load_person,
    prompt_view,
)
from idl_hf.report.page_frame import frame, table
from idl_hf.schema import Dialogue, Message

_STYLE = """
.turns { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .6rem 0; }
.turns dt { color: #555; }
.turns dd { margin: 0; white-space: pre-wrap; min-width: 0; overflow-wrap: anywhere; }
.dropped { text-decoration: line-through; color: #555; }
details { border: 1px solid #ddd; border-radius: .4rem; padding: .4rem 1rem; margin: .6rem 0; }
summary { cursor: pointer; }
small { color: #555; display: block; }
"""


def write_page(file: str, args: ShowArguments) -> None:
    """Write the page of a person, which replaces one that is there only once it is whole. Raises ValueError for a
    person or target that is not there."""
    view = load_person(args)
    parts = [*_person(view)]
    if args.target is not None:
        parts += _references(view, args.target)
        counter = PromptCounter.from_pretrained(args.model_name_or_path)
        parts += _prompt(prompt_view(view.rows[args.target], args.max_prompt_tokens, counter))
    title = f"{view.person.person_id}: {len(view.person.dialogues)} dialogues"
    with write_whole(file) as partial:
        partial.write_text(frame(title, parts, _STYLE), encoding="utf-8")


def _person(view: PersonView) -> Iterator[str]:
    clusters = view.clusters(list(view.rows))
    yield "<h2>Clusters</h2>"
    yield _clusters("Clusters", clusters)
    yield from (f"<p>left out: {number} x {escape(reason)}</p>" for reason, number in view.drops.items())
    yield f"<h2>Dialogues</h2>\n<p>Marked: {escape(ABOUT_FACTS)}.</p>"
    yield from (_dialogue(view, dialogue, clusters) for dialogue in view.person.dialogues)


def _clusters(title: str, clusters: dict[str, int]) -> str:
    of_each = {
        own: [name for name, other in clusters.items() if other == own] for own in sorted(set(clusters.values()))
    }
    rows = [[str(own), str(len(names)), escape(", ".join(names))] for own, names in of_each.items()]
    return table(title, ["cluster", "dialogues", "which"], {"": rows})


def _dialogue(view: PersonView, dialogue: Dialogue, clusters: dict[str, int]) -> str:
    name = dialogue.dialogue_id
    where = f"cluster {clusters[name]}" if name in clusters else "left out"
    lines = []
    for turn, shows in zip(dialogue.turns, view.people.shows_persona(dialogue.turns), strict=True):
        text = f"<mark>{escape(turn.text)}</mark>" if shows else escape(turn.text)
        fact = f" <small>{escape(view.facts(turn.text))}</small>" if shows else ""
        lines.append(f"<dt>{turn.role}</dt> <dd>{text}{fact}</dd>")
    title = f"{escape(name)} <small>{escape(where)}, {escape(dialogue.source)}</small>"
    return _folded(title, lines, is_open=len(view.person.dialogues) == 1)


def _folded(title: str, lines: list[str], is_open: bool) -> str:
    turns = "\n".join(lines)
    return f'<details{" open" * is_open}>\n<summary>{title}</summary>\n<dl class="turns">\n{turns}\n</dl>\n</details>'


def _references(view: PersonView, target: str) -> Iterator[str]:
    distances, names = view.distances(target), view.rows[target]["reference_ids"]
    yield f"<h2>{escape(about_target(view, target))}</h2>"
    yield _clusters("Clusters of the other dialogues", view.of_target().clusters(view.others(target)))
    if not names:
        yield "<p>The prompt shows no references.</p>"
        return
    rows = [
        [str(i + 1), escape(name), f"{distances[i - 1, i]:.3f}" if i else "-", f"{distances[i, -1]:.3f}"]
        for i, name in enumerate(names)
    ]
    listed = table("References", ["", "dialogue", "to the one before", "to the context"], {"": rows})
    total = sum(distances[i - 1, i] for i in range(1, len(names)))
    yield f"<h3>References</h3>\n<p>{ABOUT_REFERENCES}; sum over neighbours: {total:.3f}.</p>\n{listed}"


def _prompt(prompt: PromptView) -> Iterator[str]:
    yield f"<h2>Prompt: {escape(prompt.length)}</h2>"
    yield from (f"<p>{escape(line)}</p>" for line in prompt.budget.splitlines())
    yield from map(_part, prompt.parts)


def _part(part: PromptPart) -> str:
    lines = [_said(message, part.dropped) for message in part.messages]
    return _folded(escape(part.title or "What stands before all"), lines, is_open=True)


def _said(message: Message, dropped: bool) -> str:
    kind = ' class="dropped"' if dropped else ""
    return f"<dt>{escape(message['role'])}</dt> <dd{kind}>{escape(message['content'])}</dd>"
