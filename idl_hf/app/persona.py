"""The tab Persona: whose dialogues, what they show of the person, and how one of them is forgotten."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from idl_hf.app.markup import account_block, block, lines_block, person_block, sentence, shown
from idl_hf.app.notices import telling_errors
from idl_hf.app.pasted import parse_pasted
from idl_hf.app.queueing import ONE_AT_A_TIME
from idl_hf.app.visitors import Shared, Visitor
from idl_hf.corpora.exports.dates import ORDERS
from idl_hf.corpora.exports.formats import AUTO, formats
from idl_hf.corpora.import_chats import EVERYBODY, ImportArguments, import_in_memory
from idl_hf.rows.negatives import sample_people
from idl_hf.schema import Person, group_by_person
from idl_hf.shown import scrub

_EXAMPLES = 2  # people
_COLUMNS = ("text_column", "speaker_column", "time_column", "conversation_column")
_PRIVACY = (
    "Nothing leaves this machine. The copy of a file that the browser hands over is deleted once it is read, and "
    "dialogues are kept in memory until this program ends, or an hour after the page is closed."
)
_PLACEHOLDER = (
    "Ana: hello, any plans?\nBo: I am feeding my goats, as ever\n\nAna: was it cold today?\nBo: the pond froze"
)


def persona_tab(page: gr.Blocks, shared: Shared, visitor: gr.State) -> list[Dependency]:
    """Return the events after which another person, or another set of dialogues, is talked to.

    The tab is made within the page, which is being built.
    """
    gr.HTML(
        block(
            "<p>Whom should the model sound like? Bring dialogues, pick the person, then talk to them on the tab "
            f"<b>Chat</b>.</p><p class='quiet'>{shown(_PRIVACY)}</p>"
        )
    )
    account = gr.HTML(render=False, elem_id="account")
    person = gr.Dropdown(
        label="Person", choices=[], render=False, elem_id="person", info="Bring dialogues first, then pick whose."
    )
    brought = [account, person]
    with gr.Tabs():
        with gr.Tab("Export"):
            sources = [_export_source(visitor, brought)]
        with gr.Tab("Paste"):
            sources.append(_pasted_source(visitor, brought))
        with gr.Tab("Example"):
            sources.append(_example_source(visitor, brought))
        if shared.data_dir is not None:
            with gr.Tab("Folder"):
                gr.HTML(sentence(f"The people of '{shared.data_dir}', whom the page begins with."))
                folder = gr.Button("Show these people", variant="primary", elem_id="folder-people")
                sources.append(folder.click(partial(_bring_folder, shared), [visitor], brought, **ONE_AT_A_TIME))
    for component in brought:
        component.render()
    view = gr.HTML(elem_id="dialogues")
    with gr.Column(visible=False) as own:
        dialogue = gr.Dropdown(label="A dialogue to forget", choices=[], elem_id="dialogue")
        forget = gr.Button("Forget this dialogue", variant="stop", size="md", elem_id="forget")
        forgotten = gr.HTML(elem_id="forgotten")
        with gr.Accordion("Save this person on this machine", open=False):
            _saving(visitor)
    if shared.data_dir is not None:
        arrive = partial(_arrive, shared)
        sources.append(page.load(arrive, [visitor], brought, show_progress="hidden", **ONE_AT_A_TIME))
    shows = [view, own, dialogue, forgotten]
    show = partial(_show, shared)
    events = [source.success(show, [visitor, person], shows, **ONE_AT_A_TIME) for source in sources]
    events.append(person.input(show, [visitor, person], shows, **ONE_AT_A_TIME))
    events.append(forget.click(partial(_forget, shared), [visitor, dialogue], shows, **ONE_AT_A_TIME))
    return events


def _export_source(visitor: gr.State, brought: Sequence[Component]) -> Dependency:
    """Return the event of an export that was read."""
    file = gr.File(label="The export of a chat app, as it wrote it", elem_id="export", height=140)
    file.upload(_keep_copy, [visitor, file], None, queue=False, api_visibility="private")
    file.clear(_drop_copy, [visitor], None, queue=False, api_visibility="private")
    with gr.Accordion("How it is read", open=False):
        with gr.Row():
            format_name = gr.Dropdown(
                [AUTO, *formats()], value=AUTO, label="App", info="auto: found out from the file."
            )
            pause = gr.Textbox("6h", label="Pause", info="A dialogue ends where nobody writes for longer.")
            burst = gr.Textbox("5m", label="Burst", info="Messages of one speaker closer than this are one turn.")
        with gr.Row():
            mask = gr.Checkbox(label="Mask", info="Replace phone, account and card numbers, mail and web addresses.")
            hide = gr.Textbox("", label="Names to mask too", info="With commas between them.")
            region = gr.Textbox("", label="Region", info="Country of phone numbers without a code, such as DE.")
        with gr.Row():
            date_order = gr.Dropdown(["", *ORDERS], value="", label="Date order", info="If the file does not tell.")
            columns = [gr.Textbox("", label=f"csv: {name.replace('_', ' ')}") for name in _COLUMNS]
    read = gr.Button("Read the export", variant="primary", elem_id="read-export")
    inputs = [visitor, file, format_name, pause, burst, mask, hide, region, date_order, *columns]
    return read.click(_bring_export, inputs, [file, *brought], **ONE_AT_A_TIME)


def _pasted_source(visitor: gr.State, brought: Sequence[Component]) -> Dependency:
    """Return the event of a text that was read."""
    text = gr.Textbox(
        "", label="Dialogues", lines=8, max_lines=16, placeholder=_PLACEHOLDER, elem_id="pasted",
        info="A line is a name, a colon and what they said; an empty line ends a dialogue.",
    )  # fmt: skip
    read = gr.Button("Read the text", variant="primary", elem_id="read-pasted")
    return read.click(_bring_pasted, [visitor, text], brought, **ONE_AT_A_TIME)


def _example_source(visitor: gr.State, brought: Sequence[Component]) -> Dependency:
    """Return the event of people who were written for this package."""
    gr.HTML(sentence(f"{_EXAMPLES} people whose dialogues were written for this package; they are nobody."))
    example = gr.Button("Show the example", variant="primary", elem_id="example")
    return example.click(_bring_example, [visitor], brought, **ONE_AT_A_TIME)


def _saving(visitor: gr.State) -> None:
    gr.HTML(
        sentence(
            "Writes persona.json, with the conversation, readable by you alone. `idl-hf chat --dialogues FOLDER` goes "
            "on with it, and what is forgotten here later is removed from it too."
        )
    )
    folder = gr.Textbox("", label="Folder", elem_id="save-folder")
    save = gr.Button("Save", elem_id="save")
    save.click(_save, [visitor, folder], [gr.HTML(elem_id="saved")], **ONE_AT_A_TIME)


def _arrive(shared: Shared, visitor: Visitor) -> tuple[object, ...]:
    """Return the people of data_dir to whoever opens the page, unless they were quick to bring others."""
    return _bring_folder(shared, visitor) if not visitor.people else gr.skip()


def _bring_folder(shared: Shared, visitor: Visitor) -> tuple[object, ...]:
    visitor.take(shared.people, shared.data_dir)
    told = f"{len(shared.people)} people with {_number(shared.people)} dialogues in '{shared.data_dir}'."
    return sentence(told), _choices(visitor)


def _bring_example(visitor: Visitor) -> tuple[object, ...]:
    people = sample_people()[:_EXAMPLES]
    visitor.take(people)
    return sentence(f"The example: {' and '.join(person.person_id for person in people)}."), _choices(visitor)


@telling_errors
def _bring_pasted(visitor: Visitor, text: str) -> tuple[object, ...]:
    people = group_by_person(parse_pasted(text))
    visitor.take(people)
    return sentence(f"Read {_dialogues(people)} of {len(people)} people."), _choices(visitor)


@telling_errors
def _bring_export(
    visitor: Visitor, path: str | None, format_name: str, pause: str, burst: str, mask: bool, hide: str, region: str,
    date_order: str, *columns: str,
) -> tuple[object, ...]:  # fmt: skip
    """Return what became of the messages of an export, and who is in it; the copy is kept only where this fails."""
    if path is None:
        raise ValueError("There is no file yet. Drop the export into the field, then read it.")
    visitor.keep_copy(Path(path))  # who is quick reads it before the page has told of it
    args = ImportArguments(
        format=format_name,
        file=path,
        person=EVERYBODY,
        output_dir="",
        burst=burst,
        pause=pause,
        date_order=date_order or None,
        mask=mask,
        hide=[name.strip() for name in hide.split(",") if name.strip()],
        region=region.strip(),
        **dict(zip(_COLUMNS, columns, strict=True)),  # type: ignore[arg-type]
    )
    try:
        imported = import_in_memory(args)
    except ValueError as error:
        raise ValueError(scrub(str(error))) from error
    visitor.keep_copy(None)
    visitor.take(group_by_person(imported.dialogues))
    return None, account_block(imported.account), _choices(visitor)


def _keep_copy(visitor: Visitor, path: str | None) -> None:
    visitor.keep_copy(None if path is None else Path(path))


def _drop_copy(visitor: Visitor) -> None:
    visitor.keep_copy(None)


def _choices(visitor: Visitor) -> gr.Dropdown:
    """Return the list of people, the only one being picked."""
    choices = [(f"{name} ({_dialogues([person])})", name) for name, person in visitor.people.items()]
    info = f"{len(choices)} people: pick whom to talk to." if choices else "Bring dialogues first, then pick whose."
    return gr.Dropdown(choices=choices, value=choices[0][1] if len(choices) == 1 else None, info=info)


def _dialogues(people: Sequence[Person]) -> str:
    number = _number(people)
    return f"{number} dialogue{'s'[: number != 1]}"


def _number(people: Sequence[Person]) -> int:
    return sum(len(person.dialogues) for person in people)


@telling_errors
def _show(shared: Shared, visitor: Visitor, person_id: str | None) -> tuple[object, ...]:
    """Return the person who was picked, and turn to them."""
    if not person_id:
        visitor.person_id = ""
        return "", gr.Column(visible=False), gr.Dropdown(choices=[], value=None), ""
    with shared.lock:
        return *_person(shared, visitor, person_id), ""


@telling_errors
def _forget(shared: Shared, visitor: Visitor, dialogue_id: str | None) -> tuple[object, ...]:
    """Return the person without a dialogue, and what was removed with it."""
    if not dialogue_id:
        raise ValueError("No dialogue is picked. Pick the one to forget from the list.")
    with shared.lock:
        lines = visitor.forget(dialogue_id, shared)
        return *_person(shared, visitor, visitor.person_id), lines_block("Forgotten", lines)


def _person(shared: Shared, visitor: Visitor, person_id: str) -> tuple[str, gr.Column, gr.Dropdown]:
    """Return a person's dialogues, and the list of those that can be forgotten."""
    chat = visitor.turn_to(person_id, shared)
    names = [dialogue.dialogue_id for dialogue in chat.dialogues]
    shown_person = person_block(visitor.people[person_id], chat)
    return shown_person, gr.Column(visible=True), gr.Dropdown(choices=names, value=None)


@telling_errors
def _save(visitor: Visitor, folder: str) -> str:
    if not folder.strip():
        raise ValueError("A folder is missing. Type where the person is to be saved.")
    path = Path(folder.strip()).expanduser()
    visitor.chat.save(path)
    return sentence(f"Saved in '{path.resolve()}'.")
