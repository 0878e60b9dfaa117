"""Books become a tokenizer and windows; what is held out is read by neither model nor tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.models.tokenizer import BOS, EOS
from empirical.momentum.corpus import (
    CHOOSING,
    GENERATED,
    HUB,
    Books,
    Ids,
    Windows,
    cut,
    generated_books,
    read_books,
    windows,
)
from tests.support.models.momentum_books import BOOKS, TINY, book, made_windows, save_books


@pytest.fixture(scope="module")
def made() -> Windows:
    """Windows of the made-up books."""
    return made_windows()


def slow_tokens(text: Windows, books: tuple[str, ...]) -> list[int]:
    """Line by line, EOS behind each: the twin of the batched encoding."""
    out = []
    for one in books:
        for line in one.splitlines():
            if line.strip():
                ids = text.tokenizer.backend_tokenizer.encode(line, add_special_tokens=False).ids
                out += [*ids, EOS]
    return out


def slow_cut(tokens: list[int], length: int) -> list[list[int]]:
    """Window by window."""
    out = []
    for start in range(0, len(tokens), length):
        part = tokens[start : start + length]
        if len(part) == length:
            out.append([BOS, *part])
    return out


def test_windows_are_the_text_in_its_order_and_every_twentieth_is_kept_apart(
    made: Windows,
) -> None:
    every = slow_cut(slow_tokens(made, BOOKS.training), TINY.length)
    apart = [w for i, w in enumerate(every) if (i + 1) % CHOOSING == 0]
    rest = [w for i, w in enumerate(every) if (i + 1) % CHOOSING]
    assert len(apart) >= 2
    assert made.choosing.tolist() == apart and made.training.tolist() == rest
    assert made.held_out.tolist() == slow_tokens(made, BOOKS.validation)


def test_windows_read_back_are_the_text(made: Windows) -> None:
    read = made.tokenizer.decode([int(t) for t in made.held_out if t != EOS])
    assert read == BOOKS.validation[0].replace("\n", "")


@pytest.mark.parametrize("length", [4, 8, 16])
def test_held_out_windows_of_every_length_hold_the_same_tokens(made: Windows, length: int) -> None:
    most = 4 * TINY.length
    found = made.validation(length, most)
    assert (found[:, 0] == BOS).all() and found.shape == (most // length, length + 1)
    assert found[:, 1:].ravel().tolist() == made.held_out[:most].tolist()


@pytest.mark.parametrize(("count", "length"), [(0, 4), (3, 4), (4, 4), (11, 4), (12, 4)])
def test_what_fills_no_window_is_dropped(count: int, length: int) -> None:
    tokens: Ids = np.arange(count, dtype=np.int64) + 10
    assert cut(tokens, length).tolist() == slow_cut(tokens.tolist(), length)


def test_the_tokenizer_has_read_the_training_books_alone(made: Windows) -> None:
    """The near miss: the same word many times in a training book becomes a token."""
    rare = " ".join(["zyzzyva"] * 400)
    held = windows(replace(BOOKS, validation=(rare,)), TINY.vocabulary, TINY.length)
    assert held.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    read = windows(replace(BOOKS, training=(*BOOKS.training, rare)), TINY.vocabulary, TINY.length)
    assert len(read.tokenizer.encode(" zyzzyva")) < len(held.tokenizer.encode(" zyzzyva"))


def test_one_hash_stands_for_tokenizer_and_tokens(made: Windows) -> None:
    assert made_windows().sha256 == made.sha256
    hashes = {
        made.sha256,
        made_windows(replace(BOOKS, validation=(book(3, 20),))).sha256,
        made_windows(replace(BOOKS, training=(book(0), book(4)))).sha256,
        windows(BOOKS, TINY.vocabulary - 1, TINY.length).sha256,
    }
    assert len(hashes) == 4


def test_no_token_is_beyond_the_vocabulary(made: Windows) -> None:
    largest = max(int(x.max()) for x in (made.training, made.choosing, made.held_out))
    assert largest < TINY.vocabulary and len(made.tokenizer) <= TINY.vocabulary


def test_of_a_folder_the_last_tenth_by_name_is_held_out(tmp_path: Path) -> None:
    found = read_books(str(save_books(tmp_path / "three", 3)))
    assert found.training == (book(0), book(1)) and found.validation == (book(2),)
    many = tmp_path / "many"
    many.mkdir()
    for i in range(20):
        (many / f"{i:02}.txt").write_text(f"book {i}", encoding="utf-8")
    found = read_books(str(many))
    assert found.validation == ("book 18", "book 19") and len(found.training) == 18


def test_a_listing_says_what_is_held_out_and_other_splits_are_not_read(tmp_path: Path) -> None:
    folder = save_books(tmp_path / "books", 4)
    splits = ("validation", "train", "separate", "train")
    listed = {f"book{i}.txt": {"split": split} for i, split in enumerate(splits)}
    (folder / "meta.json").write_text(json.dumps({"files": listed}))
    found = read_books(str(folder))
    assert found == Books(
        name="books", training=(book(1), book(3)), validation=(book(0),)
    )  # fmt: skip


def test_a_data_set_with_both_splits_is_read_from_a_folder_as_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for split, number in (("train", 5), ("validation", 6)):
        lines = [json.dumps({"text": line}) for line in book(number, 3).splitlines()]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = read_books(f"{HUB}{folder}")
    assert found.training == tuple(book(5, 3).splitlines())
    assert found.validation == tuple(book(6, 3).splitlines())
    (folder / "validation.jsonl").unlink()
    refused(f"{HUB}{folder}", "splits train and validation and a column text")


def test_generated_books_are_the_same_every_time_and_none_is_held_out_and_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, again = generated_books(4, 3), generated_books(4, 3)
    assert first == again and len(first.training) == 2 and len(first.validation) == 2
    assert not {*first.training} & {*first.validation}
    assert len({*first.training, *first.validation}) == 4
    monkeypatch.setattr("empirical.momentum.corpus.generated_books", lambda: first)
    assert read_books(GENERATED) is first


def refused(source: str, what: str) -> None:
    """One sentence: expected, got, what to do."""
    with pytest.raises(UserError) as caught:
        read_books(source)
    line = str(caught.value)
    assert line.startswith("expected ") and ", got " in line and "; " in line, line
    assert what in line, line


def test_a_source_without_text_for_both_uses_is_refused(tmp_path: Path) -> None:
    refused(str(tmp_path / "nowhere"), "two or more .txt files")
    refused(str(save_books(tmp_path / "one", 1)), "got 1")
    blank = save_books(tmp_path / "blank", 2)
    (blank / "book1.txt").write_text(" \n \n")
    refused(str(blank), "text to hold out")
    odd = save_books(tmp_path / "odd", 2)
    (odd / "book0.txt").write_bytes(b"caf\xe9")
    refused(str(odd), "UTF-8")


@pytest.mark.parametrize(
    "listing", ["{", "[]", '{"files": ["book0.txt"]}', '{"files": {"book0.txt": {}}}']
)
def test_a_broken_listing_is_refused(tmp_path: Path, listing: str) -> None:
    folder = save_books(tmp_path / "books", 2)
    (folder / "meta.json").write_text(listing)
    refused(str(folder), "the split of each")


def test_a_listing_that_holds_nothing_out_is_refused(tmp_path: Path) -> None:
    folder = save_books(tmp_path / "books", 2)
    listed = {f"book{i}.txt": {"split": "train"} for i in range(2)}
    (folder / "meta.json").write_text(json.dumps({"files": listed}))
    refused(str(folder), "text to hold out")


def test_text_too_short_for_a_window_of_each_use_is_refused() -> None:
    short = Books(name="short", training=("the cat sat",), validation=(book(2),))
    with pytest.raises(UserError, match="expected at least 320 tokens to train on and 16 to hold"):
        made_windows(short)
    with pytest.raises(UserError, match="got .* and 2; pass more text"):
        made_windows(replace(BOOKS, validation=("a",)))
