"""Which rows are shown: published lists where known, else the shuffle."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.data.demonstrations import draw, rows_sha256
from empirical.data.paper_tasks import TASKS, FolderSource, GeneratedSource

TASK = TASKS["mr"]


def folder(path: Path, known: object = None, n: int = 12) -> FolderSource:
    """n rows whose `idx` is 100 + 7 i, with a list for seed 4 if given."""
    (path / "mr").mkdir()
    lines = [{"text": f"t{i}", "label": i % 2, "idx": 100 + 7 * i} for i in range(n)]
    (path / "mr" / "train.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    if known is not None:
        text = json.dumps({"paper_first32_by_seed": {"4": known}})
        (path / "mr" / "meta.json").write_text(text, encoding="utf-8")
    return FolderSource(path=path)


def test_the_shuffle_draws_what_the_permutation_says(tmp_path: Path) -> None:
    source = folder(tmp_path)
    train = source.rows(TASK, "train")
    drawn = draw(source, TASK, train, 4, 5)
    order = np.random.default_rng(4).permutation(12)
    assert list(drawn.offered) == [train[i] for i in order[:5]]
    assert list(drawn.left) == [train[i] for i in order[5:]]
    assert drawn.rule == "numpy default_rng(4).permutation(12)"


def test_a_known_list_is_taken_in_its_order_unless_the_shuffle_is_asked_for(tmp_path: Path) -> None:
    source = folder(tmp_path, [121, 100, 177])
    train = source.rows(TASK, "train")
    drawn = draw(source, TASK, train, 4, 2)
    assert [r.idx for r in drawn.offered] == [121, 100]
    assert drawn.rule == "published idx of seed 4"
    assert not set(r.idx for r in drawn.left) & {121, 100} and len(drawn.left) == 10
    for other in (
        draw(source, TASK, train, 4, 2, published=False),
        draw(source, TASK, train, 5, 2),
    ):
        assert "permutation" in other.rule
    assert "permutation" in draw(source, TASK, train, 4, 4).rule  # longer than the list


def test_a_listed_row_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path, [121, 99])
    with pytest.raises(UserError, match="row idx 99 of mr, got 12 rows without it; .* --draw"):
        draw(source, TASK, source.rows(TASK, "train"), 4, 2)


@pytest.mark.parametrize("known", [["a"], {"1": 2}, [True]])
def test_a_list_of_something_else_is_refused(tmp_path: Path, known: object) -> None:
    source = folder(tmp_path, known)
    with pytest.raises(UserError, match="expected a list of whole numbers for seed 4 in .*meta"):
        draw(source, TASK, source.rows(TASK, "train"), 4, 1)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_meta_file_that_does_not_parse_is_refused(tmp_path: Path, text: str) -> None:
    source = folder(tmp_path)
    (tmp_path / "mr" / "meta.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="expected a JSON object in .*meta.json"):
        draw(source, TASK, source.rows(TASK, "train"), 4, 1)


@pytest.mark.parametrize(
    ("seed", "k", "message"),
    [
        (1, 13, r"expected k in 1\.\.12 \(training rows of mr\), got k = 13"),
        (1, 0, "got k = 0"),
        (-1, 3, "expected a seed of at least 0, got -1"),
    ],
)
def test_a_k_or_seed_out_of_range_is_refused(
    tmp_path: Path, seed: int, k: int, message: str
) -> None:
    source = folder(tmp_path)
    with pytest.raises(UserError, match=message):
        draw(source, TASK, source.rows(TASK, "train"), seed, k)


def test_the_hash_of_rows_sees_text_label_idx_order_and_where_a_part_ends() -> None:
    rows = GeneratedSource(seed=0, train_rows=6).rows(TASK, "train")
    first = rows[0]
    variants = [
        (rows,),
        (rows[::-1],),
        (rows[:3], rows[3:]),
        ([replace(first, label=1 - first.label), *rows[1:]],),
        ([replace(first, idx=7), *rows[1:]],),
        ([replace(first, fields={"text": "other"}), *rows[1:]],),
    ]
    assert len({rows_sha256(*parts) for parts in variants}) == len(variants)
    assert rows_sha256(rows) == rows_sha256(list(rows))
