"""Anybody's replies in the table of an evaluation: the same places, words, people, intervals and tests."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from idl_hf.cache import Cache
from idl_hf.encoding import default_encoder
from idl_hf.evaluation.arguments import EvaluateArguments, ScoreArguments
from idl_hf.evaluation.data import EvaluationData, Spoken, spread
from idl_hf.evaluation.measured_file import MeasuredFile
from idl_hf.evaluation.measured_model import Notes, Reply, examples_of
from idl_hf.evaluation.reply_file import GivenReply, file_names, files_of, places_of, read_replies, write_replies
from idl_hf.evaluation.scores import AUTHOR, SCORES, WORDS, as_line, kept_judge, score_line
from idl_hf.evaluation.targets import Target, match, targets_in, targets_of
from idl_hf.evaluation.written import finish
from idl_hf.report.reading import read_report
from idl_hf.report.results import Line, Report, Table
from idl_hf.rows.arguments import DEFAULT_DATASET, parse_options
from idl_hf.shown import without_paths

_SHOWN = 3  # of each kind of what is wrong with a file
_ABOUT = "Replies of a file, scored as `idl-hf evaluate` scores those of a model."


@dataclass(frozen=True)
class Asked:
    """Where replies are asked for, and the report that they come into: one table, with the replies of its lines."""

    report: Report
    test: str
    data: EvaluationData
    targets: list[Target]
    spoken: dict[Target, Spoken]  # every reply of the split
    lines: dict[str, list[Reply]]
    nli_model: str | None


def score_file(args: ScoreArguments) -> Path:
    """Score a file of replies, and return the folder of a new report with its line.

    Raises ValueError for a file that does not reply to all that is asked for, naming the lines, and for a folder that
    holds a report.
    """
    started = time.perf_counter()
    path = Path(args.replies)
    name = args.name or path.stem
    folder = Path(args.output_dir or Path("runs/score", file_names([name])[name]))
    if (folder / "report.json").exists():
        raise ValueError(f"'{folder}' holds a report, which would be lost. Pass another --output_dir.")
    given = read_replies(path)
    asked = _of_split(args) if args.report is None else _of_report(args, Path(args.report))
    if name in [line.name for line in asked.report.tables[0].lines]:
        raise ValueError(f"The report has a line '{name}'. Pass --name with another for these replies.")
    notes = Notes({note: [] for note in asked.report.notes})
    replies = _replies(path, given, asked, notes)
    judge = asked.nli_model and kept_judge(asked.nli_model, Cache(folder / "measured.sqlite"))
    measured = MeasuredFile(name, replies, asked.data, notes, judge or None)
    (table,) = asked.report.tables
    scored = score_line(measured, [column.key for column in table.columns if column.key in SCORES])
    lines = {**asked.lines, name: replies}
    files = files_of({asked.test: lines})[asked.test]
    write_replies(folder / places_of(asked.test), (reply.given for reply in replies), texts=False)
    for label, file in files.items():
        write_replies(folder / file, (reply.given for reply in lines[label]))
    report = replace(
        asked.report,
        title=f"{asked.report.title}, and replies of {path.name}",
        tables=[replace(table, lines=[*table.lines, *_beside(table, as_line(name, "theirs", scored))])],
        examples=examples_of(lines),
        settings=_settings(args, asked, files),
        notes=notes.lines(),
        seconds=time.perf_counter() - started,
    )
    return finish(folder, report)


def _settings(args: ScoreArguments, asked: Asked, files: Mapping[str, str]) -> dict[str, Any]:
    test = {**asked.data.about(), "nli_model": asked.nli_model}
    test |= {"places": places_of(asked.test), "replies": dict(files)}
    before = {key: value for key, value in asked.report.settings.items() if key != "tests"}
    given = {key: value for key, value in asdict(args).items() if value is not None}
    settings = {"arguments": without_paths(given), "tests": {asked.test: test}}  # of these the next one reads
    return {**settings, **({"report": without_paths(before)} if before else {})}


def _beside(table: Table, line: Line) -> list[Line]:
    """Return the line for each group, or at each position, of a table: replies of a file are the same in all."""
    if table.on_x:
        positions = sorted({other.x for other in table.lines if other.x is not None})
        return [replace(line, name=f"{line.name}, {x:g}", x=x, group=line.name) for x in positions]
    return [replace(line, group=group) for group in dict.fromkeys(other.group for other in table.lines)] or [line]


def _of_split(args: ScoreArguments) -> Asked:
    """Return the places in which `idl-hf evaluate` would have a model reply."""
    options = {"encoder": args.encoder or default_encoder(), **parse_options(args.dataset_options)}
    data = EvaluationData(
        args.dataset_name or DEFAULT_DATASET, args.data_dir, args.split or EvaluateArguments.split, options=options
    )
    data.choose([{"conditioning": "references"}], 2, None, None)
    targets = targets_of(data.rows("references"), data)
    targets = [targets[place] for place in spread(len(targets), args.generated_replies)]
    people = len({target.dialogue.person_id for target in targets})
    test = data.dataset_name.removeprefix("idl_hf/")
    keys = [*WORDS, *AUTHOR, *(["coh", "coh_con"] if args.nli_model else [])]
    table = Table(f"{test}, {people} people", [SCORES[key].column for key in keys], [])
    report = Report(test, _ABOUT, [table])
    return Asked(report, test, data, targets, _spoken(data), {}, args.nli_model)


def _of_report(args: ScoreArguments, folder: Path) -> Asked:
    """Return the places in which the lines of a report reply, and its table."""
    if not (folder / "report.json").is_file():
        raise ValueError(f"There is no report.json in '{folder}'. Pass a folder that `idl-hf evaluate` wrote.")
    report = read_report((folder / "report.json").read_text(encoding="utf-8"))
    tests: Mapping[str, Any] = report.settings.get("tests", {})  # type: ignore[assignment]
    replied = [test for test, about in tests.items() if about["places"]]
    if not replied:
        raise ValueError(
            f"The report in '{folder}' holds no replies to compare with. Run `idl-hf evaluate` again, --models with "
            "--generated_replies."
        )
    wanted = args.dataset_name and args.dataset_name.removeprefix("idl_hf/")
    if (len(replied) > 1 and wanted is None) or (wanted is not None and wanted not in replied):
        raise ValueError(f"The report has replies on {', '.join(replied)}. Pass one of them as --dataset_name.")
    test = wanted or replied[0]
    about, table = tests[test], report.tables[list(tests).index(test)]
    data = EvaluationData(about["dataset_name"], args.data_dir, about["split"], options=about["options"])
    if data.about()["dialogues"] != about["dialogues"]:
        raise ValueError(
            f"The report in '{folder}' was made of other dialogues than these. Pass --data_dir with the folder of "
            "those that it was made of."
        )
    spoken = _spoken(data)
    places = list(spoken)
    matched = {label: match(read_replies(folder / file), places) for label, file in about["replies"].items()}
    lines = {label: _in_places(found.replies, spoken) for label, found in matched.items()}
    targets = list(match(read_replies(folder / about["places"], texts=False), places).replies)
    asked = Asked(report, test, data, targets, spoken, lines, args.nli_model or about["nli_model"])
    if any(list(found.replies) != targets for found in matched.values()) or not _scores_as_before(asked, table):
        raise ValueError(
            f"The replies in '{folder}' do not score as its report says: they were changed, or scored by another "
            "version of idl_hf. Run `idl-hf evaluate` again."
        )
    return replace(asked, report=replace(report, tables=[table], highlighted=[], conversations=[]))


def _scores_as_before(asked: Asked, table: Table) -> bool:
    """Tell whether the replies of the report's first line, those of its first seed, have the scores of words that it
    says, where the report holds any."""
    told = {line.name: line for line in table.lines}  # of a curve, those of another system have a line for each x
    label = next((label for label in asked.lines if label in told), None)
    if label is None:
        return True
    replies, whole_line = asked.lines[label], told[label]
    line = next(iter(whole_line.by_seed.values()), whole_line)
    keys = [key for key in WORDS if key in line.values]
    again = score_line(MeasuredFile(label, replies, asked.data, Notes(), None), keys)
    return all(
        line.values[key].keys() == scored.values.keys()
        and all(math.isclose(value, scored.values[person], abs_tol=1e-9) for person, value in line.values[key].items())
        for key, scored in again.items()
        if isinstance(scored.values, dict)
    )


def _spoken(data: EvaluationData) -> dict[Target, Spoken]:
    """Return each reply of the split."""
    return {
        target: reply
        for key, replies in data.spoken().items()
        for target, reply in zip(targets_in(key, replies), replies, strict=True)
    }


def _in_places(given: Mapping[Target, GivenReply], spoken: Mapping[Target, Spoken]) -> list[Reply]:
    return [
        Reply(target.dialogue, target.turn, spoken[target].said, spoken[target].text, reply.text)
        for target, reply in given.items()
    ]


def _replies(path: Path, given: Sequence[GivenReply], asked: Asked, notes: Notes) -> list[Reply]:
    """Return a file's replies in the places that are asked for, in their order, and note what else there is.

    An empty reply is what a system may say, and is scored as such: it is noted, with its line. Raises ValueError,
    which names lines, where some are missing, double or to nothing, and where all are empty.
    """
    matched = match(given, list(asked.spoken))
    here = {target: matched.replies[target] for target in asked.targets if target in matched.replies}
    empty = [reply for reply in here.values() if not reply.text.strip()]
    missing = [
        GivenReply(target.dialogue.dialogue_id, target.turn, "") for target in asked.targets if target not in here
    ]
    problems = [
        _problem("missing", missing),
        _problem("double, to what an earlier line replies to", matched.double),
        _problem("to no reply of a person in the split", matched.foreign),
        _problem("to one of several people with a dialogue of this name, and give no person_id", matched.unclear),
        _problem("empty, which is all of them", empty if len(empty) == len(here) else []),
    ]
    if any(problems):
        raise ValueError(
            f"'{path}' does not reply where it is asked to, in {len(asked.targets)} places. "
            f"{' '.join(filter(None, problems))} `turn` is the number, from 0, of the turn that is replied instead of."
        )
    if empty:
        notes.add(f"{path.name}: {_problem('empty, and scored as such', empty)}")
    if others := len(matched.replies) - len(here):
        notes.add(f"{path.name}: {others} more replies are in places that are not asked for, and are not scored.")
    return _in_places(here, asked.spoken)


def _problem(what: str, replies: Sequence[GivenReply]) -> str:
    """Return a sentence that says how many replies are so and names some, "" of none."""
    named = [
        f"turn {reply.turn} of '{reply.dialogue_id[:80]}'" + f" (line {reply.line})" * bool(reply.line)
        for reply in replies[:_SHOWN]
    ]
    more = [f"{len(replies) - _SHOWN} more"] if len(replies) > _SHOWN else []
    return (
        f"{len(replies)} {'is' if len(replies) == 1 else 'are'} {what}: {', '.join([*named, *more])}."
        if replies
        else ""
    )
