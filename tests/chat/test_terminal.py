"""The chat in a terminal: the real program in a real pseudo-terminal, and through a pipe."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from idl_hf.chat import terminal as terminal_module
from idl_hf.chat.commands import COMMANDS, Talk, answer
from idl_hf.chat.terminal import _converse, find_person
from idl_hf.corpora.errors import CorpusError

ROOT = Path(__file__).parents[2]
PATIENCE = 240  # seconds until an answer counts as none; a machine may be busy
PROMPT = "you: "
UP, LEFT = "\x1b[A", "\x1b[D"
CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture(scope="module")
def model(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def logs(tmp_path):
    """A folder with the dialogues of two people."""
    said = {
        "ruth-1": ("ruth", "any plans ?", "i mend nets all day"), "ruth-2": ("ruth", "do you sail ?", "not in winter"),
        "kit-1": ("kit", "hello ?", "hey hey"),
    }  # fmt: skip
    lines = [
        {"person_id": person, "dialogue_id": name, "partner_id": "bo",
         "turns": [{"role": "partner", "text": asked}, {"role": "self", "text": told}]}
        for name, (person, asked, told) in said.items()
    ]  # fmt: skip
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path / "logs"


def words(model, logs, *others):
    command = [sys.executable, "-m", "idl_hf.cli", "chat", "--model", str(model), "--dialogues", str(logs)]
    return [*command, "--encoder", "offline", "--person", "ruth", *others]


def environment(tmp_path):
    named = {"PYTHONPATH": str(ROOT), "IDL_HF_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    return os.environ | named | {"TERM": "xterm", "INPUTRC": "/dev/null", "COLUMNS": "200"}


class Terminal:
    """A program in a pseudo-terminal: what is typed, and all that it shows."""

    def __init__(self, command, env, cwd):
        self.shown, self._read = "", 0
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which whoever runs the tests may have had ignored
            os.chdir(cwd)
            os.execvpe(command[0], command, env)

    def type(self, text):
        os.write(self._end, text.encode())

    def interrupt(self):
        """Type Ctrl-C once the program sleeps at its prompt: before, Python hears of it at the next key only."""
        until = time.monotonic() + PATIENCE
        while psutil.Process(self.pid).status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < until
            time.sleep(0.01)
        self.type(CTRL_C)

    def wait_for(self, pattern):
        """Return what was shown since the last wait, up to and with what fits the pattern."""
        until = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(self.shown, self._read)):
            if time.monotonic() > until or not self._take():
                raise AssertionError(
                    f"no {pattern!r} in {self.shown[self._read :][-500:]!r}, after {self.shown[: self._read][-500:]!r}"
                )
        told, self._read = self.shown[self._read : found.end()], found.end()
        return told

    def _take(self):
        if select.select([self._end], [], [], 1)[0]:
            try:
                part = os.read(self._end, 65536)
            except OSError:  # Linux says so of an end whose program is gone
                return False
            self.shown += part.decode(errors="replace")
            return bool(part)
        return True

    def ask(self, line):
        """Return what is shown after a line until the next prompt."""
        self.type(f"{line}\r")
        return self.wait_for(rf"\r\n[\s\S]*{PROMPT}")

    def status(self):
        """Return the exit status, once the program has ended."""
        until = time.monotonic() + PATIENCE
        while self._take():
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(model, logs, tmp_path):
    started = []

    def start(*others):
        started.append(Terminal(words(model, logs, *others), environment(tmp_path), tmp_path))
        started[-1].wait_for(PROMPT)
        return started[-1]

    yield start
    for each in started:
        try:
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_every_command_in_a_real_terminal(terminal, logs, tmp_path):
    talk = terminal("--max_new_tokens", "6")
    assert "Talking to ruth, known from 2 dialogues" in talk.shown
    assert "temperature 0.7" in talk.shown  # sampling is what a newcomer gets
    assert all(f"  {name}" in (helped := talk.ask("/help")) for name in [*COMMANDS, "/quit"]), helped
    assert "say something first" in talk.ask("/why")
    assert "ruth: " in talk.ask("hello there")
    assert re.search(r"[+-]\d+\.\d\d  \[[+-]\d+\.\d\d\]  ruth-\d, line \d, (ruth|partner): ", talk.ask("/why"))
    assert "[" in talk.ask("/why all")
    references = talk.ask("/references")
    assert "1. ruth-" in references
    assert "i mend nets all day" in references
    assert "ruth: " in talk.ask("/retry")
    assert "Taken back: hello there" in talk.ask("/undo")
    assert "no reply yet" in talk.ask("/undo")
    assert "ruth: " in talk.ask("again")
    assert "Saved in 'kept'" in talk.ask("/save kept")
    assert "A folder is missing" in talk.ask("/save")
    assert "begins anew" in talk.ask("/reset")
    assert "1 exchanges so far" in talk.ask("/load kept")
    assert "no saved persona" in talk.ask("/load nowhere")
    assert "temperature = 0.7" in talk.ask("/set")
    assert "temperature = 0.2" in talk.ask("/set temperature 0.2")
    assert "seed = 7" in talk.ask("/set seed=7")
    assert "Did you mean top_p?" in talk.ask("/set topp 1")
    assert "must be a number" in talk.ask("/set min_p much")
    assert "to: kit" in talk.ask("/persona")
    assert "Talking to kit" in talk.ask("/persona kit")
    assert "kit: " in talk.ask("hello")
    assert "no person 'nobody'" in talk.ask("/persona nobody")
    assert "Talking to ruth" in talk.ask("/persona ruth")
    assert "ruth-1, with bo (2 lines)" in talk.ask("/forget")
    forgotten = talk.ask("/forget ruth-1")
    assert "Forgotten: 'ruth-1'" in forgotten
    assert "conversation is emptied" in forgotten
    assert not any(b"mend nets" in path.read_bytes() for path in tmp_path.glob("[ck]*/**/*") if path.is_file())
    command = re.search(r"the line of 'ruth-1':\r\n\s+(.*?)\r\n", forgotten)[1]
    subprocess.run(command, shell=True, check=True)
    lines = (logs / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["dialogue_id"] for line in lines] == ["ruth-2", "kit-1"]
    assert "no dialogue 'ruth-1'" in talk.ask("/forget ruth-1")
    assert "Did you mean /forget?" in talk.ask("/forgt")
    talk.type("/quit\r")
    assert talk.status() == 0
    assert not (tmp_path / "home").exists()  # no history file, nor anything else


def test_arrow_keys_edit_the_line_and_bring_back_what_was_typed(terminal):
    talk = terminal("--max_new_tokens", "3")
    assert "temperature = 0.3" in talk.ask(f"/set temperature 3{LEFT}0.")
    assert "temperature = 0.3" in talk.ask(f"/reset {UP}")
    talk.type(CTRL_D)
    assert talk.status() == 0


def test_ctrl_c_stops_the_reply_and_not_the_chat_and_twice_at_the_prompt_ends_it(terminal):
    talk = terminal("--max_new_tokens", "3900", "--temperature", "0")
    talk.type("tell me everything\r")
    talk.wait_for(r"ruth: [\s\S]{8}")
    talk.type(CTRL_C)
    assert "stopped" in talk.wait_for(PROMPT)
    assert "no reply yet" in talk.ask("/undo")  # what was stopped does not count
    assert "max_new_tokens = 3" in talk.ask("/set max_new_tokens 3")
    assert "ruth: " in talk.ask("hello")
    talk.type("half a line")
    talk.wait_for("half a line")
    talk.interrupt()
    assert "once more" in talk.wait_for(PROMPT)
    assert "ruth: " in talk.ask("a line between the two")
    talk.interrupt()
    assert "once more" in talk.wait_for(PROMPT)
    talk.interrupt()
    assert talk.status() == 0


def test_through_a_pipe(model, logs, tmp_path):
    lines = b"hello\n/nothing\n\n\xff\xfe\n/persona kit\nhello\n"
    history = tmp_path / "typed"
    command = words(model, logs / "train.jsonl", "--max_new_tokens", "3", "--history", str(history), "--seed", "1")
    done = [
        subprocess.run(
            command, input=lines, capture_output=True, env=environment(tmp_path), timeout=PATIENCE, check=True
        )
        for _ in range(2)
    ]
    told = done[0].stdout.decode()
    assert (told.count("ruth: "), told.count("\nkit: "), told.count("you: ")) == (2, 1, 0)
    assert "There is no command /nothing." in told
    assert told == done[1].stdout.decode()  # by the same seed
    assert b"Traceback" not in done[0].stderr
    assert done[0].stderr.count(b" 0/") <= 1  # the bar of the model, and none of the encoder within a reply
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_saved_persona_is_talked_to_without_its_dialogues(model, logs, tmp_path):
    command = words(model, logs, "--max_new_tokens", "3")
    subprocess.run(
        command, input=b"hello\n/save kept\n", capture_output=True, env=environment(tmp_path), cwd=tmp_path, check=True
    )
    (logs / "train.jsonl").unlink()
    kept = [*command[: command.index("--dialogues")], "--dialogues", "kept"]
    done = subprocess.run(
        kept, input=b"/undo\n", capture_output=True, env=environment(tmp_path), cwd=tmp_path, check=True
    )
    assert "Talking to ruth, known from 2 dialogues" in done.stdout.decode()
    assert "Taken back: hello" in done.stdout.decode()
    refused = subprocess.run([*kept, "--person", "kit"], capture_output=True, env=environment(tmp_path), cwd=tmp_path)
    assert (refused.returncode, b"leave out --person" in refused.stderr) == (1, True)


def test_a_folder_is_read_like_its_file_and_one_without_is_named(logs, tmp_path):
    assert find_person(logs, "kit") == find_person(logs / "train.jsonl", "kit")
    with pytest.raises(CorpusError, match=r"several persons.*kit, ruth"):
        find_person(logs, None)
    with pytest.raises(CorpusError, match=r"train\.jsonl' does not exist"):
        find_person(tmp_path, None)


def test_a_person_is_found_by_another_spelling_of_the_name(tmp_path):
    turns = [{"role": "self", "text": "hi"}]
    with open(tmp_path / "train.jsonl", "w", encoding="utf-8") as file:
        for name in ("Ann\u200f", "Zoe\u0301", "BEN", "Ben"):
            file.write(json.dumps({"person_id": name, "dialogue_id": f"of {name}", "turns": turns}) + "\n")
    for asked, name in (("ann", "Ann\u200f"), (r"Ann\u200f", "Ann\u200f"), ("zo\u00e9", "Zo\u00e9"), ("Ben", "Ben")):
        assert find_person(tmp_path, asked).person_id == name
    for asked in ("ben", "An", "\u200f"):
        with pytest.raises(CorpusError, match="has no person"):
            find_person(tmp_path, asked)


@pytest.mark.parametrize("name", ["a/b", "a.b*[c]^$", 'quo"te', "it's", "back\\slash", "ünï", "12"])
@pytest.mark.parametrize("as_ascii", [False, True])
@pytest.mark.parametrize("is_number", [False, True])
def test_the_command_that_deletes_a_line_deletes_that_line_alone(name, is_number, as_ascii, tmp_path):
    from idl_hf.chat.commands import _line_deletion

    file = tmp_path / "it's mine.jsonl"
    ids = [int(name) if is_number and name.isdigit() else name, f"{name}1", f"1{name}", "other"]
    people = ["ann", name, f"{name}1"]  # of others the same id may be another conversation
    written = [{"person_id": person, "dialogue_id": each} for each in ids for person in people]
    written += [dict(reversed(one.items())) for one in written]  # in either order
    file.write_text("".join(json.dumps({**one, "x": 1}, ensure_ascii=as_ascii) + "\n" for one in written))
    subprocess.run(_line_deletion(name, name, file), shell=True, check=True)
    kept = [json.loads(line) | {"x": 1} for line in file.read_text().splitlines()]
    expected = [one | {"x": 1} for one in written if (one["person_id"], one["dialogue_id"]) != (name, ids[0])]
    assert kept == expected


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory.\nTried to allocate"), MemoryError()])
def test_where_memory_runs_out_the_conversation_goes_on(monkeypatch, capsys, error):
    lines, said = iter(["a long message", "a short one"]), []

    def answering(talk, line):
        said.append(line)
        if line == "a long message":
            raise error
        return False

    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    monkeypatch.setattr(terminal_module, "answer", answering)
    _converse(Talk(None, {}, None, {}))  # type: ignore[arg-type]
    assert said == ["a long message", "a short one"]
    what = "CUDA out of memory" if str(error) else "MemoryError"
    assert f"That failed: {what}. The conversation is as it was before." in capsys.readouterr().out


def test_a_line_that_is_no_text_ends_nothing(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ncaf\xe9\nthree\ncaf\xc3"), "utf-8"))
    monkeypatch.setattr(terminal_module, "answer", lambda talk, line: said.append(line) or True)
    _converse(Talk(None, {}, None, {}))  # type: ignore[arg-type]
    assert said == ["one", "caf\ufffd", "three", "caf\ufffd"]


def test_a_line_that_is_empty_is_no_message():
    assert answer(Talk(None, {}, None, {}), "") is True  # type: ignore[arg-type]
    assert answer(Talk(None, {}, None, {}), "/exit") is False  # type: ignore[arg-type]
