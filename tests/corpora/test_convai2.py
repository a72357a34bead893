"""The ConvAI2 reader on the real files, on little ones written here, and on anything else."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idl_hf.corpora.convai2 import (
    VARIANTS,
    group_persons,
    read_dialogues,
    read_with_profiles,
    split_files,
)
from idl_hf.corpora.errors import CorpusError, ErrorLog
from idl_hf.corpora.files import check_sha256
from idl_hf.prompting import SILENCE
from idl_hf.schema import Dialogue, Turn
from tests.corpora.as_ever import digest_of

FIRST = ["your persona: i farm.", "your persona: i have a dog.", "hi\thello", "how are you ?\tgood , i farm ."]
SECOND = ["your persona: i sail.", "your persona: i have a cat.", "hey\tmorning", "you ?\ti sail ."]
REAL_VARIANTS = ("self_original", "self_revised", "both_original", "both_revised", "none_original")


def numbered(*dialogues: list[str]) -> str:
    return "".join(f"{number} {line}\n" for lines in dialogues for number, line in enumerate(lines, start=1))


@pytest.fixture
def file(tmp_path):
    """Writes a raw file and returns its path."""

    def write(content: str | bytes, name: str = "train_self_original_no_cands.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def profiled(*profiles: str) -> list[Dialogue]:
    """One dialogue for each profile, its sentences given as letters."""
    return [Dialogue("", str(i), (Turn("self", "hi"),), tuple(profile)) for i, profile in enumerate(profiles)]


def same_person(dialogues: list[Dialogue], person: str = "persona") -> list[int]:
    """For each dialogue the first one of the same person."""
    ids = [dialogue.person_id for dialogue in group_persons(dialogues, person)]
    return [ids.index(person_id) for person_id in ids]


# The real files


@pytest.mark.parametrize(("split", "count"), [("train", 505), ("validation", 175)])
@pytest.mark.parametrize("variant", REAL_VARIANTS)
def test_real_files_hold_all_their_dialogues(convai2, variant, split, count):
    (file,) = split_files(convai2, variant)[split]
    dialogues = read_with_profiles(file)
    assert len(dialogues) == len({dialogue.dialogue_id for dialogue in dialogues}) == count
    assert all(3 <= len(dialogue.profile) <= 5 for dialogue in dialogues)
    assert all(turn.text == turn.text.strip() != "" for dialogue in dialogues for turn in dialogue.turns)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_self_both_and_none_give_the_same_people_the_same_dialogues(convai2, split):
    found = {}
    for variant in ("self_original", "both_original", "none_original"):
        (file,) = split_files(convai2, variant)[split]
        people = group_persons(read_with_profiles(file))
        found[variant] = [(dialogue.person_id, dialogue.profile, dialogue.turns) for dialogue in people]
    assert found["self_original"] == found["both_original"] == found["none_original"]


def test_real_people_have_many_dialogues_and_no_split_shares_one(convai2):
    people = {
        split: {dialogue.person_id for dialogue in group_persons(read_with_profiles(files[0]))}
        for split, files in split_files(convai2).items()
    }
    assert 505 / len(people["train"]) > 5
    assert 175 / len(people["validation"]) > 5
    assert not people["train"] & people["validation"]


def test_real_candidates_never_contain_the_label(convai2):
    dialogues = read_with_profiles(convai2 / "with_candidates" / "train_self_original.txt")
    assert len(dialogues) == 15
    replies = [turn for dialogue in dialogues for turn in dialogue.turns if turn.role == "self"]
    assert all(turn.candidates and turn.text not in turn.candidates for turn in replies)
    assert not any(turn.candidates for dialogue in dialogues for turn in dialogue.turns if turn.role == "partner")


def test_a_folder_with_candidates_and_without_is_read_with_them(convai2):
    assert Path(split_files(convai2 / "with_candidates")["train"][0]).name == "train_self_original.txt"
    assert Path(split_files(convai2)["train"][0]).name == "train_self_original_no_cands.txt"


# Little files


def test_the_second_column_is_the_person(file):
    (dialogue,) = read_dialogues(file(numbered(FIRST)))
    assert dialogue.profile == ("i farm.", "i have a dog.")
    assert dialogue.turns == (
        Turn("partner", "hi"),
        Turn("self", "hello"),
        Turn("partner", "how are you ?"),
        Turn("self", "good , i farm ."),
    )


def test_a_dialogue_is_traced_to_its_file_and_line(file):
    first, second = read_dialogues(file(numbered(FIRST, SECOND)))
    assert (first.dialogue_id, first.source) == ("dialogue-1", "train_self_original_no_cands.txt:1")
    assert (second.dialogue_id, second.source) == ("dialogue-2", "train_self_original_no_cands.txt:5")


def test_a_silent_partner_says_nothing(file):
    (dialogue,) = read_dialogues(file(numbered([f"{SILENCE}\tgood morning", "hi\thow are you ?"])))
    assert [(turn.role, turn.text) for turn in dialogue.turns] == [
        ("self", "good morning"),
        ("partner", "hi"),
        ("self", "how are you ?"),
    ]


def test_the_partners_persona_is_not_the_persons(file):
    (dialogue,) = read_dialogues(file(numbered(["your persona: i farm.", "partner's persona: i sail.", "hi\thello"])))
    assert dialogue.profile == ("i farm.",)


def test_candidates_are_kept_in_order_without_the_label(file):
    (dialogue,) = read_dialogues(file(numbered(["hi\thello\t\tyes .| hello |no .|"])))
    assert dialogue.turns == (Turn("partner", "hi"), Turn("self", "hello", ("yes .", "no .")))


def test_carriage_returns_change_nothing(file):
    unix = list(read_dialogues(file(numbered(FIRST, SECOND))))
    assert list(read_dialogues(file(numbered(FIRST, SECOND).replace("\n", "\r\n")))) == unix


def test_a_byte_order_mark_changes_nothing(file):
    path = file(b"\xef\xbb\xbf" + numbered(FIRST, SECOND).encode())
    assert list(read_dialogues(path)) == list(read_dialogues(file(numbered(FIRST, SECOND))))


def test_blank_lines_change_no_dialogue_and_sources_still_name_the_line(file):
    sound = list(read_dialogues(file(numbered(FIRST, SECOND))))
    blank = list(read_dialogues(file("\n" + numbered(FIRST, SECOND).replace("\n", "\n \r\n"))))
    assert [(d.dialogue_id, d.profile, d.turns) for d in blank] == [(d.dialogue_id, d.profile, d.turns) for d in sound]
    assert [dialogue.source for dialogue in blank] == [f"train_self_original_no_cands.txt:{line}" for line in (2, 10)]


def test_after_a_blank_line_an_error_still_names_its_line(file):
    with pytest.raises(CorpusError, match=r"\.txt:4: Expected 'partner<TAB>self'"):
        list(read_dialogues(file("1 hi\thello\n\n\n2 no tab\n")))


def test_a_last_line_without_its_end_is_read(file):
    assert len(list(read_dialogues(file(numbered(FIRST, SECOND).rstrip())))) == 2


def test_an_empty_file_holds_no_dialogue(file):
    assert list(read_dialogues(file(""))) == []


# Malformed files: (lines before, malformed dialogue, line of the error, what the message says)

MALFORMED = [
    pytest.param(
        "1 hi\thello\n2 no tab\n3 a\tb\n", 6, "Expected 'partner<TAB>self'.*found 'no tab'", id="missing tab"
    ),
    pytest.param("1 hi\thello\n2 a\tb\tc\n", 6, "Expected 'partner<TAB>self'", id="three fields"),
    pytest.param("1 hi\thello\n2 a\t \n3 a\tb\n", 6, "Expected 'partner<TAB>self'", id="empty reply"),
    pytest.param("1 hi\thello\n2 \tb\n3 a\tb\n", 6, "Expected 'partner<TAB>self'", id="empty partner"),
    pytest.param("1 hi\thello\n3 a\tb\n4 a\tb\n", 6, "Expected line number 2 or 1, found '3'", id="skipped number"),
    pytest.param("1 hi\thello\n2 a\tb\n2 a\tb\n", 7, "Expected line number 3 or 1, found '2'", id="repeated number"),
    pytest.param("1 your persona: x.\n", 5, "Expected a dialogue, found persona lines only", id="persona lines only"),
    pytest.param("1 hi\thello\nhi\thello\n", 6, r"Expected line number 2 or 1, found 'hi", id="no number"),
    pytest.param(b"1 hi\thello\n2 caf\xe9\tb\n3 a\tb\n", 6, "Expected UTF-8 text, found the byte 0xe9", id="latin-1"),
    pytest.param(
        b"1 caf\xe9\thello\n2 a\tb\n",
        5,
        "Expected UTF-8 text, found the byte 0xe9",
        id="latin-1 in the first line",
    ),
]


def around(malformed: str | bytes) -> bytes:
    """Between two sound dialogues of four lines each."""
    middle = malformed.encode() if isinstance(malformed, str) else malformed
    return numbered(FIRST).encode() + middle + numbered(SECOND).encode()


@pytest.mark.parametrize(("malformed", "line", "message"), MALFORMED)
def test_raise_stops_with_file_and_line(file, malformed, line, message):
    path = file(around(malformed))
    with pytest.raises(CorpusError, match=rf"{path}:{line}: {message}.*on_error='skip'"):
        list(read_dialogues(path))


@pytest.mark.parametrize(("malformed", "line", "message"), MALFORMED)
def test_skip_counts_the_line_and_leaves_out_only_its_whole_dialogue(file, malformed, line, message):
    path, log = file(around(malformed)), ErrorLog("skip")
    dialogues = list(read_dialogues(path, log))
    assert len(log.messages) == 1
    assert log.messages[0].startswith(f"{path}:{line}: ")
    assert [dialogue.profile[0] for dialogue in dialogues] == ["i farm.", "i sail."]
    assert [len(dialogue.turns) for dialogue in dialogues] == [4, 4]
    assert [dialogue.dialogue_id for dialogue in dialogues] == ["dialogue-1", "dialogue-3"]


def test_a_file_that_does_not_begin_at_one_is_malformed(file):
    with pytest.raises(CorpusError, match=r":1: Expected line number 1"):
        list(read_dialogues(file("2 hi\thello\n")))


@pytest.mark.parametrize("dialogues", [(FIRST[:2], SECOND), (SECOND, FIRST[:2])], ids=["first", "last"])
def test_a_dialogue_without_a_turn_is_reported_wherever_it_stands(file, dialogues):
    log = ErrorLog("skip")
    assert [dialogue.profile[0] for dialogue in read_dialogues(file(numbered(*dialogues)), log)] == ["i sail."]
    assert len(log.messages) == 1


def test_on_error_takes_raise_or_skip():
    with pytest.raises(ValueError, match=r"'ignore' is unknown\. The valid values are: 'raise', 'skip'"):
        ErrorLog("ignore")


# Variants without the person's profile


def none_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "persona:" not in line]


@pytest.mark.parametrize("sibling", ["self_original", "self_original_no_cands", "both_original_no_cands"])
def test_a_variant_without_profiles_takes_them_from_the_file_beside_it(file, sibling):
    file(numbered(FIRST, SECOND), f"train_{sibling}.txt")
    dialogues = read_with_profiles(
        file(numbered(none_lines(FIRST), none_lines(SECOND)), "train_none_original_no_cands.txt")
    )
    assert [dialogue.profile for dialogue in dialogues] == [
        ("i farm.", "i have a dog."),
        ("i sail.", "i have a cat."),
    ]


def test_without_that_file_the_error_names_it(file):
    path = file(numbered(none_lines(FIRST)), "valid_none_original_no_cands.txt")
    with pytest.raises(CorpusError, match=r"does not say who speaks.*valid_self_original\.txt.*valid_both_original"):
        read_with_profiles(path)


def test_a_file_beside_it_with_other_dialogues_is_refused(file):
    file(numbered(SECOND), "train_self_original_no_cands.txt")
    path = file(numbered(none_lines(FIRST)), "train_none_original_no_cands.txt")
    with pytest.raises(CorpusError, match=rf"{path}:1: Expected the same dialogue as number 1 of train_self_original"):
        read_with_profiles(path)


def test_a_dialogue_that_the_file_beside_it_lacks_is_skipped_on_demand(file):
    file(numbered(FIRST), "train_self_original_no_cands.txt")
    path = file(numbered(none_lines(FIRST), none_lines(SECOND)), "train_none_original_no_cands.txt")
    log = ErrorLog("skip")
    assert [dialogue.profile[0] for dialogue in read_with_profiles(path, log)] == ["i farm."]
    (message,) = log.messages
    assert message.startswith(f"{path}:3: Expected the same dialogue as number 2 of train_self_original_no_cands.txt")


def test_skip_leaves_out_a_malformed_dialogue_of_a_variant_without_profiles(file):
    file(numbered(FIRST, SECOND), "train_self_original_no_cands.txt")
    path = file(numbered(["no tab", "you ?\tgood"], none_lines(SECOND)), "train_none_original_no_cands.txt")
    (dialogue,) = read_with_profiles(path, ErrorLog("skip"))
    assert dialogue.profile == ("i sail.", "i have a cat.")


def test_a_dialogue_malformed_in_the_file_beside_it_is_left_out_and_the_others_keep_their_profiles(file):
    file(numbered([*FIRST[:2], "no tab"], SECOND), "train_self_original_no_cands.txt")
    path = file(numbered(none_lines(FIRST), none_lines(SECOND)), "train_none_original_no_cands.txt")
    log = ErrorLog("skip")
    (dialogue,) = read_with_profiles(path, log)
    assert (dialogue.dialogue_id, dialogue.profile) == ("dialogue-2", ("i sail.", "i have a cat."))
    assert "train_self_original_no_cands.txt:3: Expected 'partner<TAB>self'" in log.messages[0]


def test_a_file_of_any_name_is_read_as_one_with_profiles(file):
    assert len(read_with_profiles(file(numbered(FIRST, SECOND), "mine.txt"))) == 2


# Persons


def test_two_shared_sentences_make_one_person_and_one_does_not():
    assert same_person(profiled("abcd", "cdef", "fghi")) == [0, 0, 2]


def test_persons_are_merged_through_a_third_profile():
    assert same_person(profiled("abcd", "efgh", "xyab", "xyef")) == [0, 0, 0, 0]


def test_profile_mode_knows_only_the_exact_set_of_sentences():
    assert same_person(profiled("abcd", "dcba", "abcde", "abc"), "profile") == [0, 0, 2, 3]


def test_profiles_of_one_sentence_are_one_person_only_if_equal():
    assert same_person(profiled("a", "a", "b", "ab")) == [0, 0, 2, 3]


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=4).map(sorted), min_size=1, max_size=6))
def test_the_order_of_dialogues_and_sentences_does_not_matter(profiles):
    forward = {d.dialogue_id: d.person_id for d in group_persons(profiled(*profiles))}
    dialogues = [
        Dialogue("", dialogue.dialogue_id, dialogue.turns, dialogue.profile[::-1]) for dialogue in profiled(*profiles)
    ]
    assert {d.dialogue_id: d.person_id for d in group_persons(dialogues[::-1])} == forward


def test_a_dialogue_without_a_profile_has_no_person(file):
    with pytest.raises(CorpusError, match=r"train_self.*:1: Expected a 'your persona' line.*on_error='skip'"):
        group_persons(list(read_dialogues(file(numbered(none_lines(FIRST))))))


@pytest.mark.parametrize("person", ["persona", "profile"])
def test_a_dialogue_without_a_profile_is_left_out_and_counted_on_demand(file, person):
    log = ErrorLog("skip")
    dialogues = list(read_dialogues(file(numbered(FIRST, none_lines(FIRST), SECOND)), log))
    assert [d.dialogue_id for d in group_persons(dialogues, person, log)] == ["dialogue-1", "dialogue-3"]
    assert len(log.messages) == 1
    assert "train_self_original_no_cands.txt:5: Expected a 'your persona' line" in log.messages[0]


def test_an_unknown_person_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'user' is unknown\. The valid values are: 'persona', 'profile'"):
        group_persons([], "user")


# Files of a folder


def test_an_unknown_variant_lists_the_valid_ones(tmp_path):
    with pytest.raises(ValueError, match=", ".join(VARIANTS)):
        split_files(tmp_path, "self")


def test_the_archives_own_subfolder_is_found(tmp_path):
    (tmp_path / "ConvAI2").mkdir()
    (tmp_path / "ConvAI2" / "valid_self_original.txt").touch()
    assert split_files(tmp_path) == {"validation": [str(tmp_path / "ConvAI2" / "valid_self_original.txt")]}


def test_a_folder_without_the_files_tells_what_it_holds(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(CorpusError, match=r"Expected ConvAI2's files train_self_original\.txt.*found: notes\.md"):
        split_files(tmp_path)


def test_a_download_must_be_the_published_file(file):
    path = file("as published")
    check_sha256(path, hashlib.sha256(b"as published").hexdigest())
    with pytest.raises(CorpusError, match="expected 0000: the download is damaged or not the published file"):
        check_sha256(path, "0000")


# Anything else

pieces = st.sampled_from(
    [
        b"1 ",
        b"2 ",
        b"3 ",
        b"\n",
        b"\r\n",
        b"\t",
        b"|",
        b"hi",
        b"your persona: i farm.",
        b"partner's persona: x",
        SILENCE.encode(),
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x00",
        "日本".encode(),
        b"\x0c",
        b" ",
    ]
)


@given(st.binary(max_size=80) | st.lists(pieces, max_size=30).map(b"".join), st.sampled_from(["raise", "skip"]))
@example(b"1\n2\n", "skip")
@example("1 a\tb\u2028c\n".encode(), "raise")
def test_any_file_yields_dialogues_or_a_corpus_error(tmp_path_factory, content, on_error):
    path = tmp_path_factory.getbasetemp() / "fuzz_self_original.txt"
    path.write_bytes(content)
    log = ErrorLog(on_error)
    try:
        dialogues = read_with_profiles(path, log)
    except CorpusError as error:
        dialogues, stopped_at = [], str(error)
    else:
        stopped_at = ""
    assert not stopped_at or stopped_at.startswith(f"{path}:")
    assert not stopped_at or on_error == "raise" or "found UTF-16" in stopped_at
    assert all(dialogue.turns and dialogue.source for dialogue in dialogues)
    assert all(turn.text.strip() for dialogue in dialogues for turn in dialogue.turns)


def test_the_first_real_dialogues_are_read_as_ever(convai2):
    dialogues = group_persons(read_with_profiles(convai2 / "valid_self_original_no_cands.txt"))
    assert digest_of(dialogues[:20])[:16] == "09232eb622ed3235"
