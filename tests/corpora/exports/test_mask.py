"""Placeholders: what is found, what is not, and the same thing under the same one."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idl_hf.corpora.exports.mask import Mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Ann.Lee@example.org!", "write to [mail 1]!"),
        ("see https://example.org/a?b=c#d, ok", "see [link 1], ok"),
        ("see www.example.org.", "see [link 1]."),
        ("it is on lake-trips.com/2024", "it is on [link 1]"),
        ("call +49 170 1234567 now", "call [phone 1] now"),
        ("pay DE89 3704 0044 0532 0130 00 please", "pay [account 1] please"),
        ("pay gb82west12345698765432", "pay [account 1]"),
        ("4111-1111-1111-1111 is mine", "[card 1] is mine"),
        ("4111 1111 1111 1112 is not", "4111 1111 1111 1112 is not"),
        ("4111 1111 1111 1116 is not", "4111 1111 1111 1116 is not"),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("at 9.30 on 13.01.2024 we were 1,000,000", "at 9.30 on 13.01.2024 we were 1,000,000"),
        ("e.g. this.That was nice", "e.g. this.That was nice"),
        ("no number: 0170 1234567", "no number: 0170 1234567"),
    ],
)
def test_what_is_found_and_what_is_not(text, masked):
    assert Mask()(text) == masked


def test_the_same_thing_has_the_same_placeholder():
    mask = Mask(region="de")
    assert mask("0170 1234567 or +49 (170) 123 45 67 or +44 7700 900123") == "[phone 1] or [phone 1] or [phone 2]"
    assert mask("a@b.org, A@b.org, c@b.org") == "[mail 1], [mail 1], [mail 2]"
    assert mask.counts == {"phone": 2, "mail": 2}


def test_names_are_found_as_whole_words_in_any_case():
    mask = Mask(["Ann", "Ann Lee", "Müller", ""])
    assert mask("ANN LEE met Ann, annoyed Joann, at müller's and Mu\u0308ller") == (
        "[name 1] met [name 2], annoyed Joann, at [name 3]'s and Mu\u0308ller"
    )
    assert mask("Ann  Lee") == "[name 1]"


@pytest.mark.parametrize("name", ["O'Brien", "O\u2019Brien"])
def test_any_apostrophe_is_that_of_the_name(name):
    assert Mask([name])("O'Brien, o\u2019brien and O\u02bcBrien") == "[name 1], [name 1] and [name 1]"


def test_a_region_that_is_none_is_told():
    with pytest.raises(ValueError, match="--region 'XX' is unknown"):
        Mask(region="XX")


@given(st.text(st.sampled_from("0123456789+-() .@/:wAZ\u0660\u017f\u212anét\n"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_masked(text):
    once = Mask(["An"])(text)
    assert isinstance(once, str)
    assert len(once.split("\n")) <= len(text.split("\n"))


@pytest.mark.parametrize("text", ["A" * 80_000 + " see a@b", "a@" + "b" * 80_000, "x." * 40_000 + "@"])
def test_a_long_run_without_spaces_takes_no_time(text):
    begin = time.process_time()
    assert Mask()(text) == text
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a@b.org+c@d.org/e@f.org", "[mail 1][mail 2][mail 3]"),
        ("a@b c@d.org", "a@b [mail 1]"),
        ("mailto:a@b.org or mailto:x", "[mail 1] or mailto:x"),
        ("a" * 100 + "@b.org", "[mail 1]"),
    ],
)
def test_mail_addresses_are_found_wherever_they_begin(text, masked):
    assert Mask()(text) == masked
