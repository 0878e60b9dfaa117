"""The file of a calibration: the same when read back, refused when damaged; and the command."""

import json
import subprocess
import sys

import pytest
from typer.testing import Result

from empirical.calibration import run, run_calibration
from empirical.core.errors import Refused, UserError
from empirical.core.progress import SILENT
from empirical.core.undefined import Undefined
from empirical.results import calibration as files
from empirical.results.calibration import Calibration, Case, Check, Source
from tests.support.paths import ROOT
from tests.support.study import dualform, error_line

COMMITTED = ROOT / "docs/results/calibration"
RIGHT = Check(value=1.0, right=True, bound=1e-15)


def made(check: Check = RIGHT) -> Calibration:
    band = Check(
        value=0.25,
        right=True,
        low=0.2,
        high=0.3,
        draws=199,
        readings=(0.25, 0.26),
        inside=2,
        probability=1.0,
    )
    left = Check(value=Undefined("no change"), right=None, why="no change")
    return Calibration(
        provenance=Source(
            seed=0,
            dtype="float64",
            threads=1,
            versions={"numpy": "2"},
            code_sha256="ab",
            commit=None,
            command=("dualform", "calibrate"),
        ),
        cases={
            "one": Case(kind="constructed", title="a model", checks={"sim_aou": check}),
            "two": Case(
                kind="unrelated",
                title="another",
                checks={"sim_aou": band, "kendall": left},
                numbers={"rate": 0.5, "none": Undefined("why")},
            ),
        },
        curves={
            "one": {
                "dose": [0.0, 1.0],
                "sim_aou": [0.2, 1.0],
                "kendall": [Undefined("x"), 1.0],
                "null": {"sim_aou": [0.1, 0.2, 0.3], "kendall": Undefined("x")},
            },
        },
    )


def test_a_calibration_is_the_same_when_read_back(tmp_path):
    path = files.write(made(), tmp_path)
    assert path.name == "calibration.json" and files.read(path) == made()
    before = path.read_bytes()
    assert files.write(files.read(path), tmp_path).read_bytes() == before


DAMAGE = {
    "another schema": (lambda v: v.update(schema=2), "expected version 1 at schema"),
    "no cases": (lambda v: v.pop("cases"), "expected the keys .*cases.* at the top level of"),
    "a foreign kind": (
        lambda v: v["cases"]["one"].update(kind="real"),
        "expected one of 'constructed', 'trained' or 'unrelated' at cases.one.kind of",
    ),
    "a verdict in words": (
        lambda v: v["cases"]["one"]["checks"]["sim_aou"].update(right="yes"),
        "expected true or false at cases.one.checks.sim_aou.right of",
    ),
    "a verdict that is a number": (
        lambda v: v["cases"]["one"]["checks"]["sim_aou"].update(right=1),
        "expected true or false at cases.one.checks.sim_aou.right of",
    ),
    "a value in words": (
        lambda v: v["cases"]["two"]["checks"]["sim_aou"].update(value="high"),
        "expected a number at cases.two.checks.sim_aou.value of",
    ),
    "a short curve": (
        lambda v: v["curves"]["one"]["sim_aou"].pop(),
        "expected 2 values at curves.one.sim_aou of",
    ),
    "a curve without doses": (
        lambda v: v["curves"]["one"].pop("dose"),
        "expected a list at curves.one.dose of",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_with_the_place(name, tmp_path):
    damage, message = DAMAGE[name]
    path = files.write(made(), tmp_path)
    value = json.loads(path.read_text())
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=message):
        files.read(path)


def test_half_a_file_and_none_are_refused(tmp_path):
    path = files.write(made(), tmp_path)
    path.write_text(path.read_text()[:500])
    with pytest.raises(UserError, match="expected a complete JSON file"):
        files.read(path)
    with pytest.raises(UserError, match="expected a complete JSON file"):
        files.read(tmp_path / "none.json")


def test_what_was_read_wrong_is_named_and_the_file_is_there_all_the_same(tmp_path, monkeypatch):
    wrong = Check(value=0.5, right=False, bound=1e-15)
    monkeypatch.setattr(run, "calibrate", lambda _seed, _reporter: made(wrong))
    with pytest.raises(Refused, match="read wrong: sim_aou of one"):
        run_calibration(tmp_path, 0, SILENT)
    assert files.read(tmp_path / files.NAME).wrong() == [("one", "sim_aou")]
    monkeypatch.setattr(run, "calibrate", lambda _seed, _reporter: made())
    lines = run_calibration(tmp_path, 0, SILENT)
    assert lines[0] == "one (constructed): sim_aou 1 right"
    assert lines[1] == "two (unrelated): sim_aou 0.250, 2 of 2 in the band, kendall undefined"
    assert files.read(tmp_path / files.NAME).wrong() == []


def test_the_command_gives_its_verdict_as_exit_status(tmp_path, monkeypatch):
    def called(*more: str) -> Result:
        return dualform("calibrate", "--out", tmp_path, *more)

    assert "expected a seed of at least 0, got -1" in error_line(called("--seed", "-1"))
    monkeypatch.setattr(run, "calibrate", lambda _seed, _reporter: made())
    right = called()
    assert right.exit_code == 0 and "written: " in right.stdout
    wrong = Check(value=0.5, right=False)
    monkeypatch.setattr(run, "calibrate", lambda _seed, _reporter: made(wrong))
    assert "read wrong" in error_line(called(), status=1)


def test_the_committed_calibration_read_every_known_model_right():
    found = files.read(COMMITTED / files.NAME)
    assert found.wrong() == []
    kinds = {case.kind for case in found.cases.values()}
    assert kinds == set(files.KINDS)
    assert set(found.cases) == {*run.KNOWN, "trained", *run.UNRELATED, "random_weights_turned"}
    trained = found.cases["trained"].checks["sim_aou"]
    assert trained.value > trained.high


def test_what_reads_results_loads_no_torch():
    code = (
        "import empirical.calibration, empirical.results.calibration, empirical.metrics.null_bands"
    )
    code += ", empirical.metrics.dose, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
