"""Layouts and packing."""

import pytest

from empirical.errors import UserError
from empirical.prompts import Query, encode_text, label_tokens, pack, query
from empirical.tasks import TASKS, Row


class Letters:
    """One token a character."""

    bos, eos = 1, 2

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def test_line_breaks_become_eos() -> None:
    assert encode_text(Letters(), "a\nb") == (97, 2, 98)
    assert encode_text(Letters(), "a\n\nb\n") == (97, 2, 2, 98, 2)


def test_prompt_and_label_are_apart_and_the_label_has_one_space() -> None:
    row = Row(fields={"text": "x"}, label=1)
    q = query(Letters(), TASKS["mr"], row)
    assert q == Query(prompt=tuple(map(ord, "Review: x Sentiment:")), label=1)
    assert label_tokens(Letters(), TASKS["mr"])[1] == tuple(map(ord, " Positive"))


def test_braces_in_a_text_stay() -> None:
    q = query(Letters(), TASKS["mr"], Row(fields={"text": "{a}"}, label=0))
    assert q.prompt == tuple(map(ord, "Review: {a} Sentiment:"))


@pytest.mark.parametrize(("limit", "used"), [(18, 3), (17, 2), (14, 2), (13, 1)])
def test_packing_is_strictly_below_the_limit(limit: int, used: int) -> None:
    """Longest evaluation 1 + 2 + 1 = 4; a demonstration 2 + 1 + 1 = 4; context 1 + 4 i."""
    qs = [Query(prompt=(7, 8), label=0)] * 3
    # i fit while 1 + 4 i + 4 < limit
    want = min(3, (limit - 6) // 4)
    assert used == want
    packed = pack(qs, qs[:1], ((9,),), Letters(), limit)
    assert packed.used == used and packed.longest_evaluation == 4
    assert packed.context == (1, *((7, 8, 9, 2) * used))


def test_packing_stops_at_the_first_that_does_not_fit() -> None:
    short, long = Query(prompt=(7,), label=0), Query(prompt=(7,) * 50, label=0)
    assert pack([short, long, short], [short], ((9,),), Letters(), 30).used == 1


def test_strict_mode_refuses_what_published_mode_cuts() -> None:
    qs = [Query(prompt=(7, 8), label=0)] * 3
    with pytest.raises(
        UserError, match="expected 3 demonstrations .* got 2 that fit; lower k to 2"
    ):
        pack(qs, qs[:1], ((9,),), Letters(), 15, "strict")
    with pytest.raises(UserError, match="got 0 that fit"):
        pack(qs, qs[:1], ((9,),), Letters(), 5)
    with pytest.raises(UserError, match="at least one evaluation row"):
        pack(qs, [], ((9,),), Letters(), 5)
