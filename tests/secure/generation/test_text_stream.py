"""Detokenising step by step, and stop strings: what comes out does not depend on where the pieces end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure.generation.text_stream import StopStrings, TextStream
from tests.secure.ee.serving.tiny import make_tokenizer

TOKENIZER = make_tokenizer()
BROKEN = "\N{REPLACEMENT CHARACTER}"


def pieces(ids: list[int]) -> list[str]:
    stream = TextStream(TOKENIZER)
    return [*(stream.feed(token) for token in ids), stream.flush()]


@given(st.lists(st.integers(0, len(TOKENIZER) + 5), max_size=40))
def test_pieces_join_to_the_decoding_of_all_ids(ids: list[int]) -> None:
    assert "".join(pieces(ids)) == TOKENIZER.decode(ids, skip_special_tokens=True)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12))
def test_no_piece_has_half_a_character(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    parts = pieces(ids)
    assert "".join(parts) == text
    assert BROKEN in text or not any(BROKEN in part for part in parts)


def test_a_character_of_several_tokens_appears_with_the_last() -> None:
    ids = TOKENIZER("x😀y", add_special_tokens=False)["input_ids"]
    assert len(ids) == 6
    assert pieces(ids) == ["x", "", "", "", "😀", "y", ""]
    # Cut in the middle, the rest shows as in a decoding of all ids at once.
    assert "".join(pieces(ids[:4])) == TOKENIZER.decode(ids[:4]) == f"x{BROKEN}"


def test_special_tokens_are_no_text() -> None:
    ids = TOKENIZER("a<|end|>b</s>", add_special_tokens=False)["input_ids"]
    assert pieces(ids) == ["a", "", "b", "", ""]


def cut(text: str, stops: list[str], sizes: list[int]) -> tuple[str, bool]:
    """The text before a stop string, when it arrives in pieces of these sizes."""
    stop, out = StopStrings(stops), ""
    for size in [*sizes, len(text)]:
        out += stop.feed(text[:size])
        text = text[size:]
    return out + stop.flush(), stop.stopped


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["four"], "one two three"),
        ("aaab", ["aab"], "a"),
        ("ababac", ["abac", "zz"], "ab"),
        ("abcd", ["bcd", "bc"], "a"),
        # Of two that end together the longer one.
        ("xabc", ["bc", "abc"], "x"),
        ("the end", ["end!"], "the end"),
        ("日本語", ["本"], "日"),
    ],
)
def test_stop_strings(text: str, stops: list[str], expected: str) -> None:
    for size in range(1, len(text) + 1):
        assert cut(text, stops, [size] * len(text)) == (expected, expected != text)


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 5), max_size=30),
)
def test_pieces_do_not_change_where_a_text_is_cut(text: str, stops: list[str], sizes: list[int]) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    assert cut(text, stops, sizes) == (expected, bool(ends))


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    stop = StopStrings(["<end>"])
    assert [stop.feed(part) for part in ("text", " <e", "lse", " <en", "d> more", "x")] == [
        "text",
        " ",
        "<else",
        " ",
        "",
        "",
    ]
    assert stop.stopped
    assert stop.flush() == ""
