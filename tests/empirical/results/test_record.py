"""Records: same run, same bytes; what is damaged is refused with a plain message."""

import dataclasses
import json

import pytest

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.results import record as records
from empirical.results.record import Measurement
from tests.support.results.records import record


def test_a_record_survives_writing_and_reading(tmp_path):
    r = record()
    metrics = {**r.metrics, "x": Measurement(value=Undefined("no case"), per_layer=(0.1 + 0.2,))}
    r = dataclasses.replace(r, metrics=metrics)
    assert records.read(records.write(r, tmp_path)) == r
    assert records.read_all(tmp_path) == (r,)


def test_the_same_run_gives_the_same_bytes_whatever_it_took(tmp_path):
    one = records.write(record(), tmp_path / "a", {"icl": 1.0}).read_bytes()
    two = records.write(record(), tmp_path / "b", {"icl": 2.0}).read_bytes()
    assert one == two and one.endswith(b"}\n")
    assert records.write(record(seed=1), tmp_path / "c").read_bytes() != one


def test_seconds_live_in_timing_and_accumulate(tmp_path):
    records.write(record("sst2"), tmp_path, {"icl": 1.5})
    records.write(record("mr"), tmp_path, {"icl": 2.5})
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing == {
        "record-tiny_model_1-mr-s1": {"icl": 2.5},
        "record-tiny_model_1-sst2-s1": {"icl": 1.5},
    }
    assert len(records.read_all(tmp_path)) == 2


def test_a_failed_write_leaves_the_old_record_and_no_scrap(tmp_path, monkeypatch):
    path = records.write(record(), tmp_path)
    old = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        records.write(record(seed=5), tmp_path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_nan_is_not_written(tmp_path):
    r = dataclasses.replace(record(), metrics={"x": Measurement(value=float("nan"))})
    with pytest.raises(ValueError, match="expected a finite number or Undefined, got nan"):
        records.write(r, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 1, 100, -2])
def test_a_truncated_record_is_refused(tmp_path, kept):
    path = records.write(record(), tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="expected a complete JSON file at .*, got .*; run"):
        records.read(path)


def _drop_rate(v):
    del v["provenance"]["rate"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: v.update(schema=99), "expected version 3 at schema of .*, got 99; run"),
        (lambda v: v.pop("schema"), "expected version 3 at schema of .*, got None; run"),
        (lambda v: v.update(task=3), "expected text at task"),
        (lambda v: v.update(extra=1), "expected the keys"),
        (_drop_rate, "expected the keys .* at provenance"),
        (lambda v: v["counts"].update(evaluation=True), "expected an integer at evaluation"),
        (lambda v: v["metrics"]["sim_aou"].update(value=None), "expected a number at sim_aou"),
        (lambda v: v["metrics"]["sim_aou"].update(value={"nan": 1}), "'undefined'"),
    ],
)
def test_a_foreign_record_is_refused(tmp_path, damage, message):
    path = records.write(record(), tmp_path)
    value = json.loads(path.read_text())
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=message):
        records.read(path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected files record-"):
        records.read_all(tmp_path)
