"""Evidence files: what is written is read, and what is damaged is refused in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.results import control_results
from empirical.results.control_results import ConditionResult, ControlResults, Series
from tests.support.results.records import provenance

GONE = Undefined("a vector of the cosine is zero")


def series(values: list[float]) -> Series:
    return Series(
        values=np.array(values, dtype=np.float32),
        per_layer=(0.25, GONE),
        low=(0.1, GONE),
        high=(0.5, GONE),
        mean=0.25,
        excluded=2,
        total=6,
    )


def example() -> ControlResults:
    return ControlResults(
        task="sst2",
        provenance=provenance(),
        counts={"examples": 3, "layers": 2, "heads": 1},
        words=("Negative", "Positive"),
        labels=np.array([0, 1, 1]),
        findings={
            "base": ConditionResult(
                series={"sim_aou": series([0.1, np.nan, 0.3])},
                predictions={"zsl": np.array([0, 0, 1])},
                numbers={"zsl_accuracy": 100 / 3, "gone": GONE},
                tables={"lambda": [[0.5, GONE], [1.0, 0.25]]},
                note="two of three",
            ),
            "position_shift": ConditionResult(absent="the class takes no positions"),
        },
    )


def same(a: ControlResults, b: ControlResults) -> bool:
    if a.findings.keys() != b.findings.keys() or not np.array_equal(a.labels, b.labels):
        return False
    for name, one in a.findings.items():
        two = b.findings[name]
        if (one.numbers, one.tables, one.note, one.absent) != (
            two.numbers, two.tables, two.note, two.absent,
        ):  # fmt: skip
            return False
        for metric, x in one.series.items():
            y = two.series[metric]
            if not np.array_equal(x.values, y.values, equal_nan=True):
                return False
            if (x.per_layer, x.low, x.high, x.mean) != (y.per_layer, y.low, y.high, y.mean):
                return False
        for setting, answered in one.predictions.items():
            if not np.array_equal(answered, two.predictions[setting]):
                return False
    return (a.task, a.words, a.counts, a.provenance) == (b.task, b.words, b.counts, b.provenance)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path = control_results.write(example(), tmp_path)
    assert same(control_results.read(path), example())
    (found,) = control_results.read_all(tmp_path)
    assert same(found, example())


def test_the_comparison_above_sees_a_change(tmp_path: Path) -> None:
    other = example().adding(
        "base", ConditionResult(series={"sim_aou": series([0.1, np.nan, 0.4])})
    )
    assert not same(control_results.read(control_results.write(other, tmp_path)), example())


def test_the_same_evidence_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        control_results.write(example(), tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_folder_without_evidence_is_no_error(tmp_path: Path) -> None:
    assert control_results.read_all(tmp_path) == ()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: p.write_text(p.read_text()[:200]), "expected a complete JSON file"),
        (lambda p: p.with_suffix(".safetensors").write_bytes(b"x" * 9), "expected whole arrays"),
        (lambda p: p.with_suffix(".safetensors").unlink(), "expected whole arrays"),
        (lambda p: _set(p, "schema", 0), "expected version 1"),
        (lambda p: _set(p, "words", "x"), "expected a list"),
        (lambda p: _rename(p), "expected the array base2/series/sim_aou"),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, damage, expected: str) -> None:
    path = control_results.write(example(), tmp_path)
    damage(path)
    with pytest.raises(UserError, match=expected):
        control_results.read(path)


def _set(path: Path, key: str, value: object) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, key: value}))


def _rename(path: Path) -> None:
    found = json.loads(path.read_text())
    found["findings"]["base2"] = found["findings"].pop("base")
    path.write_text(json.dumps(found))


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    bad = replace(example(), findings={"base": ConditionResult(numbers={"x": float("nan")})})
    with pytest.raises(ValueError, match="expected a finite number"):
        control_results.write(bad, tmp_path)
    assert not list(tmp_path.iterdir())
