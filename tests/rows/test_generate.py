"""Persons to rows: the same for the same seed, traceable, of the right shape, and free of the reply to predict."""

import ast
from collections import Counter
from dataclasses import replace

import pytest

from idl_hf import spi
from idl_hf.corpora import jsonl
from idl_hf.criteria import CRITERION_TYPES
from idl_hf.dataset_scripts.convai2_idl import Convai2Config
from idl_hf.prompting import OWN_TURNS, PROFILE_PROMPT, SILENCE, drop_references, render
from idl_hf.rows.generate import RowBuilder
from idl_hf.rows.options import CHOICES, RowOptions, option_names, option_table
from idl_hf.rows.people import People
from idl_hf.rows.references import choose_for_context
from idl_hf.schema import Dialogue, Person, Turn, group_by_person

LEAK_STATEMENT = "i am an astronaut , i live on mars with two purple dogs and i love borscht ."


@pytest.fixture(scope="module")
def persons(sample_data) -> list[Person]:
    return group_by_person(jsonl.read_dialogues(sample_data / "train.jsonl"))


@pytest.fixture(scope="module")
def people(persons, encoder) -> People:
    everyone = People(persons, encoder)
    RowBuilder("dpoc", everyone, RowOptions(encoder="offline")).encode_ahead(persons)
    return everyone


@pytest.fixture(scope="module")
def build(persons, people):
    """Return a function that makes the rows of a config: of all persons, or of those given."""

    def rows(config: str, some=None, people=people, drops=None, **options) -> list[dict]:
        chosen = RowOptions(**({"encoder": "offline"} | options))
        chosen.check(config)
        builder = RowBuilder(config, people, chosen)
        made = [row for person in (persons if some is None else some) for row in builder.rows(person)]
        if drops is not None:
            drops.update(builder.drops)
        return made

    return rows


@pytest.fixture(scope="module")
def msl(build):
    return build("msl", targets="all")


@pytest.fixture(scope="module")
def dpoc(build):
    return build("dpoc", targets="all")


@pytest.fixture(scope="module")
def dialogues(persons) -> dict[str, Dialogue]:
    return {dialogue.dialogue_id: dialogue for person in persons for dialogue in person.dialogues}


def text(messages) -> str:
    (message,) = messages
    assert message["role"] == "assistant"
    return message["content"]


def person(name: str, *dialogues: str, candidates: tuple[str, ...] = ()) -> Person:
    """Return a person with these dialogues: utterances separated by " / ", the partner's first; "-" says nothing."""
    made = []
    for number, said in enumerate(dialogues, start=1):
        turns = tuple(
            Turn("self", line, candidates) if i % 2 else Turn("partner", line)
            for i, line in enumerate(said.split(" / "))
            if line != "-"
        )
        made.append(Dialogue(name, f"{name}-{number}", turns, ("i am here.",)))
    return Person(name, tuple(made))


RUTH = person("ruth", "hi / i have two cats .", "hello / i live in maine .", "hey / i knit sweaters .")
DEV = person("dev", "hi / i have a dog .", "hello / i am a nurse .")


def test_own_turns_of_the_same_references_in_the_same_order(build, msl, dialogues):
    for row, listed in zip(msl, build("msl", targets="all", reference_turns="self"), strict=True):
        assert listed["reference_ids"] == row["reference_ids"]
        said = [f"- {text}" for name in row["reference_ids"] for text in dialogues[name].texts("self")]
        assert listed["prompt"][0] == {"role": "system", "content": "\n".join([OWN_TURNS, *said])}
        without = drop_references(row["prompt"], row["dialogue_starts"], len(row["reference_ids"]))
        assert listed["prompt"][1:] == without
        assert listed["completion"] == row["completion"]


# The same for the same seed


@pytest.mark.parametrize("config", ["sessions", "msl", "dpoc"])
def test_the_same_seed_gives_the_same_rows_again(build, persons, encoder, config):
    some = persons[:2]
    assert build(config, some) == build(config, some, people=People(persons, encoder))


@pytest.mark.parametrize("config", ["msl", "dpoc"])
def test_rows_of_a_person_do_not_depend_on_whom_else_a_process_has(build, persons, encoder, config):
    together = build(config)
    apart = build(config, persons[::-3], people=People(persons, encoder))
    assert apart == [row for one in persons[::-3] for row in together if row["person_id"] == one.person_id]


def test_the_seed_decides(build, persons):
    some = persons[:4]
    assert build("dpoc", some, seed=1) != build("dpoc", some, seed=2)
    chosen = [{row["dialogue_id"] for row in build("msl", some, seed=seed)} for seed in range(4)]
    assert len(set(map(frozenset, chosen))) > 1


# No leak


def with_replies(owner: Person, index: int, first: int, said: str) -> Person:
    """Return the person with the replies from the given one on replaced in one dialogue."""
    dialogue = owner.dialogues[index]
    begin = dialogue.replies()[first][0]
    turns = tuple(
        replace(turn, text=said) if turn.role == "self" and i >= begin else turn
        for i, turn in enumerate(dialogue.turns)
    )
    changed = [*owner.dialogues]
    changed[index] = replace(dialogue, turns=turns)
    return Person(owner.person_id, tuple(changed))


def leaks(owner: Person, index: int) -> list[str]:
    """Return what would steer the choice if it could: a stranger's facts, and all facts of a far-off dialogue."""
    other = owner.dialogues[(index + len(owner.dialogues) // 2) % len(owner.dialogues)]
    return [LEAK_STATEMENT, " ".join(other.texts("self"))]


def prompts(rows, dialogue_id: str) -> list[tuple]:
    return [(row["prompt"], row["reference_ids"]) for row in rows if row["dialogue_id"] == dialogue_id]


@pytest.mark.parametrize("order", ["free", "target_last"])
@pytest.mark.parametrize(("reply", "first"), [("last", -1), ("all", 0)])
def test_the_reply_to_predict_does_not_steer_an_msl_prompt(build, persons, reply, first, order):
    owner, options = persons[0], {"targets": "all", "reply": reply, "order": order, "references": 3}
    before = build("msl", [owner], **options)
    for index, dialogue in enumerate(owner.dialogues):
        for said in leaks(owner, index):
            after = build("msl", [with_replies(owner, index, first, said)], **options)
            assert said in after[index]["completion"][-1]["content"]
            assert prompts(after, dialogue.dialogue_id) == prompts(before, dialogue.dialogue_id)


@pytest.mark.parametrize("first", [0, 3, -1])
def test_the_reply_to_predict_and_those_after_it_do_not_steer_a_dpoc_prompt(build, persons, first):
    owner, options = persons[2], {"targets": "all", "references": 3}
    before = build("dpoc", [owner], **options)
    for index, dialogue in enumerate(owner.dialogues):
        begin, end = dialogue.replies()[first]
        reply = "\n".join(turn.text for turn in dialogue.turns[begin:end])
        (row,) = [row for row in before if row["dialogue_id"] == dialogue.dialogue_id and text(row["chosen"]) == reply]
        after = build("dpoc", [with_replies(owner, index, first, leaks(owner, index)[1])], **options)
        assert (row["prompt"], row["reference_ids"]) in prompts(after, dialogue.dialogue_id)


def test_the_last_replies_do_not_steer_which_dialogues_are_targets(build, persons):
    for owner in persons[:4]:
        changed = owner
        for index in range(len(owner.dialogues)):
            changed = with_replies(changed, index, -1, leaks(owner, index)[1])
        targets = [{row["dialogue_id"] for row in build("msl", [one])} for one in (owner, changed)]
        assert targets[0] == targets[1]


# References


@pytest.mark.parametrize("config", ["msl", "dpoc"])
def test_references_are_other_dialogues_of_the_same_person_each_once(config, msl, dpoc, dialogues):
    for row in {"msl": msl, "dpoc": dpoc}[config]:
        references = row["reference_ids"]
        assert 1 <= len(references) <= 5
        assert len(set(references)) == len(references)
        assert row["dialogue_id"] not in references
        assert {dialogues[reference].person_id for reference in references} == {row["person_id"]}


def test_a_prompt_is_its_references_and_the_context_rendered(msl, dialogues):
    for row in msl:
        target = dialogues[row["dialogue_id"]]
        references = [dialogues[reference].turns for reference in row["reference_ids"]]
        context = target.turns[: target.replies()[-1][0]]
        assert row["prompt"] == render(references, context).messages
        alone = drop_references(row["prompt"], row["dialogue_starts"], len(references))
        assert alone == render([], context).messages


def test_a_conversation_that_goes_on_gets_the_references_it_would_have_in_training(persons, people, msl, dialogues):
    options = RowOptions(encoder="offline")
    for row in msl[:18]:
        target = dialogues[row["dialogue_id"]]
        (owner,) = [one for one in persons if one.person_id == row["person_id"]]
        past = Person(owner.person_id, tuple(d for d in owner.dialogues if d is not target))
        chosen = choose_for_context(past, target.turns[: target.replies()[-1][0]], people, options)
        assert [dialogue.dialogue_id for dialogue in chosen] == row["reference_ids"]


def test_order_changes_the_order_only(build, persons):
    owner = persons[0]
    by_order = {order: build("msl", [owner], targets="all", order=order) for order in CHOICES["order"]}
    for rows in zip(*by_order.values(), strict=True):
        assert len({frozenset(row["reference_ids"]) for row in rows}) == 1
    assert len({str([row["reference_ids"] for row in rows]) for rows in by_order.values()}) > 1


def test_without_spi_references_are_random_and_not_bound_to_a_cluster(build, persons):
    spi_off = build("msl", targets="all", spi=False)
    assert {len(row["reference_ids"]) for row in spi_off} == {5}
    for row in spi_off:
        assert row["dialogue_id"] not in row["reference_ids"]
        assert all(reference.startswith(row["person_id"]) for reference in row["reference_ids"])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_there_are_never_more_references_than_asked_for(build, persons, count):
    for row in build("msl", persons[:3], references=count):
        assert min(count, 1) <= len(row["reference_ids"]) <= count
    for row in build("msl", persons[:3], references=count, spi=False):
        assert len(row["reference_ids"]) == count


def test_one_target_of_each_cluster_by_default_and_every_dialogue_on_demand(build, persons, msl):
    for owner in persons:
        assert len(build("msl", [owner])) == spi.number_of_clusters(len(owner.dialogues))
    assert [row["dialogue_id"] for row in msl] == [d.dialogue_id for owner in persons for d in owner.dialogues]


# Replies


@pytest.mark.parametrize("reply", ["last", "all"])
@pytest.mark.parametrize("conditioning", CHOICES["conditioning"])
def test_an_msl_completion_begins_with_the_person(build, persons, reply, conditioning):
    for row in build("msl", persons[:1], targets="all", reply=reply, conditioning=conditioning):
        roles = [message["role"] for message in row["completion"]]
        assert roles == ["assistant", "user"] * (len(roles) // 2) + ["assistant"]


def test_msl_predicts_the_last_reply_by_default(msl, dialogues):
    for row in msl:
        target = dialogues[row["dialogue_id"]]
        begin, end = target.replies()[-1]
        assert text(row["completion"]) == "\n".join(turn.text for turn in target.turns[begin:end])


def test_msl_all_predicts_every_reply_of_the_dialogue_in_one_row(build, persons, dialogues):
    for row in build("msl", persons[:3], targets="all", reply="all"):
        target = dialogues[row["dialogue_id"]]
        own = [message["content"] for message in row["completion"] if message["role"] == "assistant"]
        assert row["completion"][0]["role"] == "assistant"
        assert own == target.texts("self")


def test_dpoc_predicts_each_reply_and_counts_those_it_leaves_out(build, persons, dialogues):
    drops: Counter[str] = Counter()
    rows = build("dpoc", targets="all", drops=drops)
    expected = [text for dialogue in dialogues.values() for text in dialogue.texts("self")]
    left_out = sum(count for reason, count in drops.items() if reason.startswith("reply "))
    assert len(rows) + left_out == len(expected)
    assert {text(row["chosen"]) for row in rows} <= set(expected)
    assert len(rows) > 0.9 * len(expected)


def test_dpoc_can_predict_the_last_reply_only(build, persons, dialogues):
    for row in build("dpoc", persons[:3], targets="all", reply="last"):
        assert text(row["chosen"]) == dialogues[row["dialogue_id"]].texts("self")[-1]


def test_every_prompt_ends_with_the_user_and_alternates(msl, dpoc):
    for row in [*msl, *dpoc]:
        roles = [message["role"] for message in row["prompt"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_where_the_person_opens_the_dialogue_the_partner_is_silent(build, persons, dialogues):
    opening = [d for d in dialogues.values() if d.turns[0].role == "self"]
    assert opening
    for dialogue in opening:
        (owner,) = [one for one in persons if one.person_id == dialogue.person_id]
        rows = build("dpoc", [owner], targets="all", conditioning="none")
        first = next(row for row in rows if row["dialogue_id"] == dialogue.dialogue_id)
        assert first["prompt"] == [{"role": "user", "content": SILENCE}]


def test_several_own_turns_in_a_row_are_one_reply(build, encoder):
    turns = (Turn("partner", "hi"), Turn("self", "hello"), Turn("self", "i have a cat ."), Turn("partner", "bye"))
    owner = Person("ruth", (Dialogue("ruth", "ruth-0", turns), *RUTH.dialogues))
    rows = build("dpoc", [owner], people=People([owner, DEV], encoder), targets="all")
    assert text(rows[0]["chosen"]) == "hello\ni have a cat ."


# Criterion and rejected


def test_the_three_replies_of_a_dpoc_row_differ(dpoc):
    for row in dpoc:
        assert len({text(row["chosen"]), text(row["criterion"]), text(row["rejected"])}) == 3


def test_every_criterion_type_occurs(dpoc):
    counts = Counter(row["criterion_type"] for row in dpoc)
    assert set(counts) == set(CRITERION_TYPES)
    # Few replies state something that another fact denies
    assert min(counts["fabrication"], counts["inversion"]) > len(dpoc) / 3


@pytest.mark.parametrize("kind", CRITERION_TYPES)
def test_a_criterion_type_may_be_asked_for(build, persons, kind):
    rows = build("dpoc", persons[:3], targets="all", criterion_type=kind)
    assert {row["criterion_type"] for row in rows} == {kind}


@pytest.mark.parametrize("kind", CRITERION_TYPES)
def test_every_criterion_reply_is_made_or_counted_as_refused(build, persons, kind):
    drops: Counter[str] = Counter()
    rows = build("dpoc", persons[:3], targets="all", criterion_type=kind, drops=drops)
    refused = sum(count for reason, count in drops.items() if reason.startswith(f"refused {kind}"))
    replies = sum(len(dialogue.replies()) for one in persons[:3] for dialogue in one.dialogues)
    assert len(rows) + refused == replies
    assert refused == drops["reply for which no criterion reply could be built"]


def test_an_inversion_was_said_by_the_partner_before_the_reply(build, persons):
    for row in build("dpoc", persons[:3], criterion_type="inversion"):
        shown = [line for m in row["prompt"] if m["role"] == "user" for line in m["content"].split("\n")]
        assert text(row["criterion"]) in shown


def test_an_inconsistency_is_the_chosen_reply_with_one_part_swapped(build, persons):
    for row in build("dpoc", persons[:3], criterion_type="inconsistency"):
        chosen, criterion = text(row["chosen"]).split(), text(row["criterion"]).split()
        assert chosen[0] == criterion[0] or chosen[-1] == criterion[-1]


def test_a_fabrication_was_said_by_another_person(build, persons):
    own = {one.person_id: {said for d in one.dialogues for said in d.texts("self")} for one in persons}
    for row in build("dpoc", persons[:3], criterion_type="fabrication"):
        assert text(row["criterion"]) not in own[row["person_id"]]
        assert any(text(row["criterion"]) in said for name, said in own.items() if name != row["person_id"])


def test_without_candidates_the_rejected_was_said_by_another_person(dpoc, persons):
    own = {one.person_id: {said for d in one.dialogues for said in d.texts("self")} for one in persons}
    for row in dpoc:
        assert any(text(row["rejected"]) in said for name, said in own.items() if name != row["person_id"])


CANDIDATES = ("sure .", "i sail .", "no way .")


@pytest.mark.parametrize(("rejected", "expected"), [("first", {"sure ."}), ("random", set(CANDIDATES))])
def test_with_candidates_the_rejected_is_one_of_them(build, encoder, rejected, expected):
    said = [f"question {number} ? / i have {number} cats ." for number in range(12)]
    owner = person("ruth", *said, candidates=CANDIDATES)
    rows = build("dpoc", [owner], people=People([owner, DEV], encoder), targets="all", rejected=rejected)
    assert len(rows) == 12
    assert {text(row["rejected"]) for row in rows} == expected


def test_a_candidate_that_is_the_chosen_reply_is_never_rejected(build, encoder):
    owner = person("ruth", "a / sure .", "b / sure .", "c / sure .", candidates=CANDIDATES)
    rows = build("dpoc", [owner], people=People([owner, DEV], encoder), targets="all", rejected="first")
    assert {text(row["rejected"]) for row in rows} == {"i sail ."}


# Conditioning


def test_with_another_person_as_many_dialogues_of_one_other_person_are_shown(build, msl, dialogues):
    rows = build("msl", targets="all", conditioning="other_person")
    for row, own in zip(rows, msl, strict=True):
        assert len(row["reference_ids"]) == len(own["reference_ids"])
        (other,) = {dialogues[reference].person_id for reference in row["reference_ids"]}
        assert other != row["person_id"]
        assert row["prompt"][-1] == own["prompt"][-1]


def test_without_conditioning_the_prompt_is_the_context_alone(build, persons, dialogues):
    for row in build("msl", persons[:3], conditioning="none"):
        target = dialogues[row["dialogue_id"]]
        assert row["prompt"] == render([], target.turns[: target.replies()[-1][0]]).messages
        assert row["reference_ids"] == []
        assert row["dialogue_starts"] == [{"message": 0, "char": 0}]


def test_with_the_profile_the_prompt_has_the_papers_system_message(build, persons):
    for row in build("msl", persons[:3], conditioning="profile"):
        (owner,) = [one for one in persons if one.person_id == row["person_id"]]
        profile = PROFILE_PROMPT.format(profile=" ".join(owner.profile))
        assert row["prompt"][0] == {"role": "system", "content": profile}
        assert row["prompt"][1]["role"] == "user"
        assert row["reference_ids"] == []


def test_of_a_person_with_several_profiles_the_prompt_has_that_of_the_dialogue(build):
    """Profiles that share two sentences are one person of ConvAI2, but who spoke here knew only one of them."""
    profiles = {"a": ("i farm.", "i sing."), "b": ("i farm.", "i swim."), "c": ()}
    dialogues = tuple(
        Dialogue("anna", name, (Turn("partner", "hi."), Turn("self", f"hello from {name}.")), profile)
        for name, profile in profiles.items()
    )
    rows = build("msl", [Person("anna", dialogues)], conditioning="profile", targets="all")
    shown = {row["dialogue_id"]: row["prompt"][0]["content"] for row in rows}
    assert shown == {
        "a": PROFILE_PROMPT.format(profile="i farm. i sing."),
        "b": PROFILE_PROMPT.format(profile="i farm. i swim."),
        "c": PROFILE_PROMPT.format(profile="i farm. i sing. i swim."),
    }


def test_conditioning_changes_no_reply(build, persons):
    replies = []
    for conditioning in CHOICES["conditioning"]:
        rows = build("msl", persons[:3], conditioning=conditioning)
        replies.append({row["dialogue_id"]: row["completion"] for row in rows})  # "strangers" has several rows of each
    assert replies[1:] == replies[:-1]


# What makes no row


def test_a_person_with_one_dialogue_is_counted(build, encoder):
    drops: Counter[str] = Counter()
    alone = person("kai", "hi / hello")
    assert build("msl", [alone, DEV], people=People([alone, DEV], encoder), drops=drops)
    assert drops["dialogue of a person with fewer than two"] == 1


def test_a_dialogue_in_which_the_person_says_nothing_is_counted_and_never_a_reference(build, encoder):
    drops: Counter[str] = Counter()
    owner = person("ruth", "hi / i have two cats .", "hello ?", "hey / i knit sweaters .")
    rows = build("msl", [owner], people=People([owner], encoder), drops=drops, targets="all")
    assert drops["dialogue without a reply of the person"] == 1
    assert {name for row in rows for name in [row["dialogue_id"], *row["reference_ids"]]} == {"ruth-1", "ruth-3"}


def test_a_person_alone_in_the_split_has_no_rejected_reply(build, encoder):
    drops: Counter[str] = Counter()
    assert build("dpoc", [RUTH], people=People([RUTH], encoder), drops=drops, targets="all") == []
    assert drops["reply without a rejected reply (no candidates and no other person)"] == 3


@pytest.mark.parametrize("conditioning", ["other_person", "strangers"])
def test_a_person_alone_cannot_be_conditioned_on_another(build, encoder, conditioning):
    with pytest.raises(ValueError, match="needs a second person in the same split"):
        build("msl", [RUTH], people=People([RUTH], encoder), conditioning=conditioning)


def test_a_reply_of_a_person_with_one_dialogue_can_be_rejected(build, encoder):
    alone = person("kai", "hi / i sail .")
    owner = person("ruth", "i am a pilot . / i have two cats .", "i am a nurse . / i live in maine .")
    rows = build("dpoc", [owner], people=People([owner, alone], encoder), targets="all")
    assert {text(row["rejected"]) for row in rows} == {"i sail ."}


def test_a_person_without_a_profile_is_counted_only_where_the_prompt_needs_it(build, encoder):
    bare = Person("kai", tuple(replace(dialogue, person_id="kai", profile=()) for dialogue in RUTH.dialogues))
    people = People([bare, DEV], encoder)
    drops: Counter[str] = Counter()
    rows = build("msl", [bare, DEV], people=people, drops=drops, conditioning="profile")
    assert {row["person_id"] for row in rows} == {"dev"}
    reason = "dialogue of a person without a profile"
    assert drops[reason] == len(bare.dialogues)
    drops.clear()
    assert build("msl", [bare], people=people, drops=drops)
    assert drops[reason] == 0


def test_the_dialogues_of_another_person_are_those_in_which_they_speak(build, encoder):
    mute = person("kai", "hello ?", "anyone ?", "hi / i sail .", "there ?")
    rows = build("msl", [RUTH], people=People([RUTH, mute], encoder), targets="all", conditioning="other_person")
    assert rows
    assert {tuple(row["reference_ids"]) for row in rows} == {("kai-3",)}


def test_sessions_are_the_dialogues_as_they_were_read(build, persons, dialogues):
    rows = build("sessions")
    assert [row["dialogue_id"] for row in rows] == list(dialogues)
    for row in rows:
        dialogue = dialogues[row["dialogue_id"]]
        assert [Turn(**{**t, "candidates": tuple(t["candidates"])}) for t in row["turns"]] == list(dialogue.turns)
        assert (row["person_id"], tuple(row["profile"]), row["source"]) == (
            dialogue.person_id,
            dialogue.profile,
            dialogue.source,
        )


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("msl", {}),
        ("dpoc", {}),
        ("msl", {"targets": "all"}),
        ("msl", {"references": 0}),
        ("msl", {"conditioning": "none"}),
        ("msl", {"conditioning": "other_person"}),
        ("msl", {"conditioning": "strangers"}),
        ("msl", {"conditioning": "out_of_cluster"}),
    ],
)
def test_every_dialogue_is_shown_or_counted_as_left_out(build, persons, encoder, config, options):
    some = [*persons, person("kai", "hi / i sail ."), person("lou", "hello ?", "hi / i knit .", "hi / i knit .")]
    drops: Counter[str] = Counter()
    rows = build(config, some, people=People(some, encoder), drops=drops, **options)
    own = (
        []
        if options.get("conditioning") in ("other_person", "strangers")
        else [(row["person_id"], name) for row in rows for name in row["reference_ids"]]
    )
    shown = {(row["person_id"], row["dialogue_id"]) for row in rows} | set(own)
    left_out = sum(count for reason, count in drops.items() if reason.startswith("dialogue"))
    assert len(shown) + left_out == sum(len(one.dialogues) for one in some)


# Options


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_value_of_an_option_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match=rf"option {name}='nonsense' is unknown. The valid values are: ") as error:
        RowOptions(**{name: "nonsense"}).check("msl")
    assert all(repr(choice) in str(error.value) for choice in CHOICES[name])


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("msl", {"clusters": 0}, "clusters must be at least 1"),
        ("msl", {"references": 13}, "at most 12 references, found references=13"),
        ("msl", {"references": "all"}, "at most 12 references, found references='all'"),
        ("msl", {"references": -1}, "references at least 0"),
        ("msl", {"dpi": False, "order": "target_last"}, "order='target_last' has no meaning"),
        ("msl", {"dpi": 1}, "dpi"),
        ("msl", {"clusters": None}, "must be a whole number"),
        ("msl", {"clusters": "3"}, "must be a whole number"),
        ("msl", {"references": 2.5}, "must be a whole number"),
        ("msl", {"seed": None}, "must be a whole number"),
        ("msl", {"scale": "5"}, "option scale must be a number"),
        ("msl", {"spi": "no"}, "spi"),
        ("msl", {"encoder": 3}, "encoder"),
        ("msl", {"seed": -1}, "seed"),
        ("msl", {"scale": -1.0}, "scale"),
        ("msl", {"targets": ["one"]}, r"targets=\['one'\] is unknown"),
        ("msl", {"reply": "each"}, "msl takes 'last' or 'all'"),
        ("dpoc", {"reply": "all"}, "dpoc takes 'each' or 'last'"),
    ],
)
def test_options_that_do_not_fit_say_what_does(config, options, message):
    with pytest.raises(ValueError, match=message):
        RowOptions(**options).check(config)


def test_the_table_tells_of_every_option_its_default_and_its_values():
    config = Convai2Config()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in option_table(Convai2Config).split("\n")]
    assert lines[0] == ["option", "default", "what it does"]
    assert [line[0] for line in lines[2:]] == [
        f"`{name}`" for name in [*option_names(), "preset", "on_error", "variant", "person"]
    ]
    for name, default, text in ([cell.strip("`") for cell in line] for line in lines[2:]):
        assert name == "encoder" or ast.literal_eval(default) == getattr(config, name)
        assert all(f'"{choice}"' in text for choice in CHOICES.get(name, ()) if choice is not None), name
