"""Layouts and packing."""

from dataclasses import replace

import pytest

from empirical.core.errors import UserError
from empirical.data.paper_tasks import MORE_TASKS, TASKS, Row
from empirical.data.prompts import Query, answers, encode_text, label_tokens, pack, query


class Letters:
    """One token a character."""

    bos, eos = 1, 2

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def test_line_breaks_become_eos() -> None:
    assert encode_text(Letters(), "a\nb") == (97, 2, 98)
    assert encode_text(Letters(), "a\r\nb\x85c") == (97, 2, 98, 2, 99)


def test_empty_lines_leave_nothing_as_in_the_released_code() -> None:
    assert encode_text(Letters(), "\na\n\n b\n") == (97, 2, 32, 98)
    assert encode_text(Letters(), "\n") == encode_text(Letters(), "") == ()


def test_prompt_and_label_are_apart_and_the_label_has_one_space() -> None:
    row = Row(fields={"text": "x"}, label=1)
    q = query(Letters(), TASKS["mr"], row)
    assert q == Query(prompt=tuple(map(ord, "Review: x Sentiment:")), label=1)
    assert label_tokens(Letters(), TASKS["mr"])[1] == tuple(map(ord, " Positive"))


def test_answers_of_a_row_follow_one_space_and_take_the_place_of_label_words() -> None:
    row = Row(fields={"goal": "x"}, label=1, choices=("b", " c "))
    q = query(Letters(), MORE_TASKS["piqa"], row)
    assert q == Query(prompt=(120,), label=1, choices=((32, 98), (32, 32, 99, 32)))
    assert answers(q, ((7,),)) == q.choices
    assert label_tokens(Letters(), MORE_TASKS["piqa"]) == ()
    assert answers(Query(prompt=(7,), label=0), [(8,), (9, 9)]) == ((8,), (9, 9))


def test_a_prompt_without_a_token_is_refused() -> None:
    row = Row(fields={"goal": "\n"}, label=1, choices=("b", "c"))
    with pytest.raises(
        UserError, match=r"prompt of task piqa with at least one token, got .*'goal'"
    ):
        query(Letters(), MORE_TASKS["piqa"], row)


@pytest.mark.parametrize("labels", [("good", "bad", "goody"), ("a", "a")])
def test_label_words_that_begin_with_each_others_tokens_are_refused(labels: tuple[str]) -> None:
    task = replace(TASKS["mr"], labels=labels)
    with pytest.raises(UserError, match=f"of mr .* got '{labels[0]}' .* and '{labels[-1]}'"):
        label_tokens(Letters(), task)
    assert len(label_tokens(Letters(), replace(task, labels=("good", "goat")))) == 2


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


def test_packing_takes_the_longest_answer_of_each_row_and_the_right_one_of_a_demonstration() -> (
    None
):
    """The longest evaluation sequence: 1 + max(1 + 5, 4 + 1) = 7; demonstrations 1 + 2 + 1 = 4."""
    short = Query(prompt=(7,), label=0, choices=((8,), (9,) * 5))
    long = Query(prompt=(7,) * 4, label=0, choices=((8,), (9,)))
    shown = Query(prompt=(5,), label=1, choices=((3,) * 30, (6, 6)))
    packed = pack([shown] * 3, [short, long], (), Letters(), 1 + 8 + 7 + 1)
    assert packed.longest_evaluation == 7 and packed.used == 2
    assert packed.context == (1, 5, 6, 6, 2, 5, 6, 6, 2)
