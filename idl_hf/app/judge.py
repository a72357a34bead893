"""The tab Judge: which of two replies is more like the person, without a hint at who wrote which (paper 4.4.2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import gradio as gr
from gradio.components import Component

from idl_hf.app.markup import block, sentence, shown
from idl_hf.app.notices import telling_errors, warn
from idl_hf.app.queueing import Queueing
from idl_hf.cache import digest
from idl_hf.evaluation.ratings import ALL, CRITERIA, SKIPPED, Pair, Rating, Verdicts, is_done, rater_name
from idl_hf.evaluation.ratings_file import RatingsFile
from idl_hf.schema import Turn

QUESTIONS = {
    "persona": "Persona: which reply fits better what is known of the person?",
    "style": "Style: which one sounds more like the person, in its words and tone?",
    "fluency": "Fluency: which one follows more smoothly from the conversation, in language and sense?",
}
_LEFT, _TIE, _RIGHT = "Reply 1", "Tie", "Reply 2"
_ABOUT = (
    "You see what a person said in the past, a conversation that goes on, and two replies in the person's place. Say "
    "which is better. Each click is saved at once; come back with the same name to go on."
)
# Of another pair its beginning; where nothing changed, the page stays as it is
_TO_TOP = """at => {
    if (at !== window.idlPair) document.getElementById('judge-progress').scrollIntoView();
    window.idlPair = at;
}"""
# One click after the other, in the order in which they were made, and none of them dropped
_IN_ORDER = Queueing(concurrency_limit=1, concurrency_id="judge", api_visibility="private")
CSS = """
.idl .replies { display: grid; gap: 0.8em; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17em), 1fr)) }
.idl .reply { border: 2px solid var(--border-color-primary); border-radius: 8px; padding: 0.6em 0.9em }
.idl .reply .line { padding: 0.2em 0; font-size: 1.05em }
.idl .past { max-height: 19em; overflow-y: auto; border: 1px solid var(--border-color-primary); border-radius: 8px;
  padding: 0.2em 0.8em }
.idl .own { background: var(--background-fill-secondary) }
"""


@dataclass(frozen=True)
class Desk:
    """What raters do. Nothing is remembered of a page: it tells with each click who clicks and on which pair, so that
    a page goes on after the app was killed and started again."""

    ratings: RatingsFile

    @cached_property
    def token(self) -> str:
        """What tells this study from another, and nothing else."""
        return digest(self.ratings.study.seed, len(self.ratings.study.pairs)).hex()[:12]

    @telling_errors
    def begin(self, typed: str) -> list[object]:
        """Show a rater the first pair that is left to judge."""
        rater = rater_name(typed)
        return [gr.update(value=typed, interactive=False), gr.update(visible=False), *self._next(rater, -1)]

    @telling_errors
    def rate(self, criterion: str, typed: str, at: str, choice: str) -> list[object]:
        """Save what was clicked and return the progress; where it cannot be saved, what was saved before."""
        rater, place = rater_name(typed), self._place(at)
        number = self.ratings.study.asked[place]
        left = self.ratings.study.left(rater)[number]
        outcome = "tie" if choice == _TIE else "win" if (choice == _LEFT) == (left == 0) else "lose"
        try:
            self.ratings.add(Rating(rater, number, criterion, outcome, left))
        except OSError as error:
            warn(error)
            saved = self.ratings.verdicts(rater).get(number, {})
            return [self._progress(rater, place), gr.update(value=_choice(saved, criterion, left))]
        return [self._progress(rater, place), gr.skip()]

    @telling_errors
    def skip(self, typed: str, at: str) -> list[object]:
        """Save that a rater passes over a pair, and show the next one."""
        rater, place = rater_name(typed), self._place(at)
        number = self.ratings.study.asked[place]
        self.ratings.add(Rating(rater, number, ALL, SKIPPED, self.ratings.study.left(rater)[number]))
        return self._next(rater, place)

    @telling_errors
    def go_on(self, typed: str, at: str) -> list[object]:
        """Show the next pair once this one is done."""
        rater, place = rater_name(typed), self._place(at)
        verdicts = self.ratings.verdicts(rater).get(self.ratings.study.asked[place], {})
        if not is_done(verdicts):
            missing = ", ".join(criterion for criterion in CRITERIA if criterion not in verdicts)
            raise ValueError(f"Still to say: {missing}. Or press Skip, if you cannot tell.")
        return self._next(rater, place)

    @telling_errors
    def go_back(self, typed: str, at: str) -> list[object]:
        """Show the pair before this one."""
        rater, place = rater_name(typed), self._place(at, past_end=True)
        return self._view(rater, max(place - 1, 0))

    def _place(self, at: str, past_end: bool = False) -> int:
        """Return which of the pairs a page shows. Raises ValueError where it is of another study."""
        token, _, place = at.partition(" ")
        count = len(self.ratings.study.asked) + past_end
        if token != self.token or not place.isdecimal() or int(place) >= count:
            raise ValueError("This page is of another study, and the click was not saved. Reload the page and begin.")
        return int(place)

    def _next(self, rater: str, place: int) -> list[object]:
        """Show the first pair after this one that is not done, else the first of all, else that all are done."""
        asked, verdicts = self.ratings.study.asked, self.ratings.verdicts(rater)
        order = [*range(place + 1, len(asked)), *range(place + 1)]
        left = [other for other in order if not is_done(verdicts.get(asked[other], {}))]
        return self._view(rater, left[0] if left else len(asked))

    def _view(self, rater: str, place: int) -> list[object]:
        """Return a pair as the page shows it: where it is, progress, its texts, buttons, and what was said of it."""
        at, asked = f"{self.token} {place}", self.ratings.study.asked
        if place >= len(asked):
            hidden = [gr.update(visible=False)] * (2 + len(CRITERIA))
            return [gr.update(visible=True), at, self._progress(rater, place), "", *hidden]
        pair, left = self.ratings.study.pairs[asked[place]], self.ratings.study.left(rater)[asked[place]]
        verdicts = self.ratings.verdicts(rater).get(asked[place], {})
        radios = [gr.update(value=_choice(verdicts, criterion, left), visible=True) for criterion in CRITERIA]
        seen, progress = gr.update(visible=True), self._progress(rater, place)
        return [seen, at, progress, pair_block(pair, left), seen, seen, *radios]

    def _progress(self, rater: str, place: int) -> str:
        """Return where a rater is, and how much is saved of their own ratings."""
        asked, verdicts = self.ratings.study.asked, self.ratings.verdicts(rater)
        skipped = sum(ALL in said for said in verdicts.values())
        done = sum(map(is_done, verdicts.values())) - skipped
        saved = f"{done} judged{f', {skipped} skipped' if skipped else ''}"
        if place >= len(asked):
            text = f"All {len(asked)} pairs are done: {saved}. Thank you. All is saved, and you may close the page."
            return block(f"<h3>{shown(text)}</h3>")
        here = verdicts.get(asked[place], {})
        said = "skipped" if ALL in here else ", ".join(filter(here.__contains__, CRITERIA)) or "nothing yet"
        about = f"{saved}. Saved of this pair: {said}."
        return block(f"<h3>Pair {place + 1} of {len(asked)}</h3>", f"<p class='quiet'>{about}</p>")


def _choice(verdicts: Verdicts, criterion: str, left: int) -> str | None:
    """Return what a rater clicked, None where nothing is saved."""
    outcome = verdicts.get(criterion)
    if outcome is None or outcome == "tie":
        return outcome and _TIE
    return _LEFT if (outcome == "win") == (left == 0) else _RIGHT


def pair_block(pair: Pair, left: int) -> str:
    """Return what a rater reads of a pair. Nothing in it depends on the systems but what they wrote."""
    person = pair.person_id
    past = "".join(
        f"<h4>Dialogue {number}</h4>{_lines(dialogue, person)}" for number, dialogue in enumerate(pair.past, start=1)
    )
    title = f"What {shown(person)} said in the past"
    parts = [f"<h4>{title}</h4>", f'<div class="past" role="region" aria-label="{title}" tabindex="0">{past}</div>']
    if pair.context:
        parts += ["<h4>The conversation so far</h4>", _lines(pair.context, person)]
    else:
        parts.append(f"<h4>{shown(person)} opens the conversation</h4>")
    ordered = pair.replies if left == 0 else pair.replies[::-1]
    boxes = "".join(_reply(name, text) for name, text in zip((_LEFT, _RIGHT), ordered, strict=True))
    parts.append(f'<h4>What {shown(person)} might reply</h4><div class="replies">{boxes}</div>')
    return block(*parts)


def _reply(name: str, text: str) -> str:
    said = f'<div class="line">{shown(text)}</div>' if text else '<div class="line quiet">(no reply)</div>'
    return f'<div class="reply"><span class="who">{name}</span>{said}</div>'


def _lines(turns: Iterable[Turn], person: str) -> str:
    return "".join(
        f'<div class="line{" own" * (turn.role == "self")}"><span class="who">'
        f"{shown(person if turn.role == 'self' else 'partner')}:</span> {shown(turn.text)}</div>"
        for turn in turns
    )


def judge_tab(ratings: RatingsFile) -> None:
    """Add the tab to the page that is being built."""
    desk = Desk(ratings)
    gr.HTML(sentence(_ABOUT))
    with gr.Row():
        name = gr.Textbox(label="Your name", max_lines=1, elem_id="judge-name", scale=4)
        begin = gr.Button("Begin", variant="primary", elem_id="judge-begin", scale=1)
    at = gr.Textbox(visible=False)
    with gr.Column(visible=False) as table:
        progress = gr.HTML(elem_id="judge-progress")
        pair = gr.HTML(elem_id="judge-pair")
        radios = [
            gr.Radio(
                [_LEFT, _TIE, _RIGHT],
                label=QUESTIONS[criterion],
                elem_id=f"judge-{criterion}",
            )
            for criterion in CRITERIA
        ]
        with gr.Row():
            back = gr.Button("Back", elem_id="judge-back", min_width=80)
            skip = gr.Button("Skip", elem_id="judge-skip", min_width=80)
            next_pair = gr.Button("Next", elem_id="judge-next", min_width=80, variant="primary")
    view: list[Component | gr.Column] = [table, at, progress, pair, skip, next_pair, *radios]
    quiet = partial(gr.on, trigger_mode="multiple", show_progress="hidden", **_IN_ORDER)
    quiet([begin.click, name.submit], desk.begin, name, [name, begin, *view])
    for criterion, radio in zip(CRITERIA, radios, strict=True):
        quiet([radio.input], partial(desk.rate, criterion), [name, at, radio], [progress, radio])
    for button, step in ((skip, desk.skip), (next_pair, desk.go_on), (back, desk.go_back)):
        quiet([button.click], step, [name, at], view).success(None, at, js=_TO_TOP, api_visibility="private")
