"""The fuzzer of the rounding bounds: what it draws and counts, and its committed results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from dualform.rounding import Tracked, compare
from empirical.cli.fuzz import app
from empirical.core.json_files import dumps, read_object
from empirical.core.progress import SILENT
from empirical.verification.fuzz import units as fuzz_units
from empirical.verification.fuzz.cells import CLASSES, Cell, judged, planted
from empirical.verification.fuzz.draws import DTYPES, Plan, exponent_range, name_of, scaled, seeded
from empirical.verification.fuzz.page import page
from empirical.verification.fuzz.run import BATCH, Request, chosen, run
from empirical.verification.fuzz.units import NEAR_MISSES, StatementUnit, units
from proofs.statements import STATEMENTS, by_id
from tests.support.paths import ROOT
from tests.support.printed import same_printed
from tests.support.study import error_line

pytestmark = pytest.mark.dual_form

RESULTS = ROOT / "docs" / "results" / "fuzz"
FEW = ("linear-attention-dual", "order-of-demonstrations", "scalar_decay")


def fuzz(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


def cells_in(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted((folder / "cells" / "cpu").iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, str]:
    request = Request(cases=2000, seed=3, folder=tmp_path_factory.mktemp("fuzz"), only=FEW)
    return request, dumps(run(request, SILENT)[0])


def test_every_case_is_counted_once(finished: tuple[Request, str]) -> None:
    made = json.loads(finished[1])
    assert {(c["id"], c["dtype"]) for c in made["cells"]} == {
        (i, name_of(d)) for i in FEW for d in DTYPES
    }
    for cell in [*made["cells"], made["totals"], *made["totals_by_dtype"].values()]:
        assert sum(cell[name] for name in CLASSES) == cell["cases"]
    for cell in made["cells"]:
        assert cell["cases"] == made["draws_a_cell"] * BATCH
        assert all(cell[n] == sum(s[n] for s in cell["strata"].values()) for n in CLASSES)
        assert cell["violations"] == 0 <= cell["worst_ratio"] <= 1 and cell["violating"] == []
        assert cell["near_miss"]["refused"] > 0
        assert (cell["planted"] is None) == (cell["dtype"] in ("bfloat16", "float16"))
    total = made["totals"]
    assert total["cases"] >= 2000 and total["violations"] == 0
    assert all(total[name] > 0 for name in CLASSES)
    assert made["totals_by_stratum"]["ordinary"]["overflowed"] == 0


def test_the_number_of_workers_changes_no_byte(
    finished: tuple[Request, str], tmp_path: Path
) -> None:
    request, text = finished
    others = replace(request, folder=tmp_path, workers=2)
    assert dumps(run(others, SILENT)[0]) == text


def test_it_goes_on_where_it_was_and_mends_what_is_damaged(
    finished: tuple[Request, str],
) -> None:
    request, text = finished
    before, folder = cells_in(request.folder), request.folder / "cells" / "cpu"
    gone, cut, other = list(before)[:3]
    (folder / gone).unlink()
    (folder / cut).write_text((folder / cut).read_text()[:100])
    value = read_object(folder / other)
    value["settings"]["seed"] = 4
    (folder / other).write_text(dumps(value))
    kept = cells_in(request.folder)
    assert dumps(run(request, SILENT)[0]) == text
    after = cells_in(request.folder)
    assert set(after) == set(before)
    assert {n for n in after if after[n] != kept.get(n)} == {gone, cut, other}


def test_the_command_says_what_it_counted(tmp_path: Path) -> None:
    result = fuzz("--cases", 100, "--out", tmp_path, "--only", FEW[0])
    assert result.exit_code == 0 and result.stderr == ""
    last = result.stdout.splitlines()[-1]
    assert last.startswith("128 cases: ") and last.endswith("cpu-only.json")
    assert read_object(tmp_path / "cpu-only.json")["totals"]["cases"] == 128
    assert not (tmp_path / "cpu.json").exists()


def test_a_bound_that_does_not_hold_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = by_id("linear-attention-dual")
    broken = replace(sound, rhs=lambda ops, v: sound.rhs(ops, v) + v["E"] @ v["X"].T @ v["q"])
    monkeypatch.setattr(fuzz_units, "units", lambda: (StatementUnit(broken),))
    result = fuzz("--cases", 500, "--out", tmp_path)
    line = error_line(result, status=1)
    made = read_object(tmp_path / "cpu.json")
    assert made["totals"]["violations"] > 100
    assert line == (
        f"refused: expected every gap under its bound, got {made['totals']['violations']} over it "
        "(linear-attention-dual in bfloat16, linear-attention-dual in float16, "
        "linear-attention-dual in float32, linear-attention-dual in float64); "
        f"see {tmp_path / 'cpu.json'}"
    )
    first = made["cells"][0]["violating"][0]
    assert first["ratio"] > 1 and set(first["exponents"]) == set(sound.variables)
    assert f"**{made['totals']['violations']} violations**" in (tmp_path / "README.md").read_text()
    origin = (tmp_path / "cpu-provenance.json").read_text()
    assert str(tmp_path) not in origin and "python -m empirical.cli.fuzz --cases 500" in origin


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--only", "mesa-layer"), "expected --only with one of linear-attention-dual, "),
        (("--device", "tpu"), "expected --device cpu or cuda, got 'tpu'"),
        (("--cases", "many"), "expected a whole number for --cases, got 'many'"),
        (("--cases", "0"), "expected at least 1 for --cases, got 0"),
        (("--worker", "2"), "No such option: --worker"),
    ],
)
def test_bad_options_are_one_line(args: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert words in error_line(fuzz("--out", tmp_path, *args))


def matrix(*cases: float, error: float = 0.0) -> Tracked:
    value = torch.tensor(cases).reshape(-1, 1, 1)
    return Tracked(value, torch.full_like(value, error, dtype=torch.float64))


def test_overflow_underflow_and_nothing_are_told_apart_from_error() -> None:
    left = matrix(1.0, 0.0, torch.inf, 1e-40, torch.nan, 2.0, error=1e-3)
    right = matrix(1.0, 0.0, torch.inf, 2e-40, 1.0, 1.0, error=1e-3)
    seen = judged([(left, right)], 6)
    assert seen.classes() == [
        "compared",
        "trivial",
        "overflowed",
        "underflowed",
        "overflowed",
        "compared",
    ]
    assert seen.refused.tolist() == [False] * 5 + [True]
    unbounded = judged([(matrix(1.0), matrix(1.0, error=torch.inf))], 1)
    assert unbounded.classes() == ["overflowed"]
    nothing = Tracked(torch.zeros(2, 3, 0))
    assert judged([(nothing, nothing)], 2).classes() == ["trivial", "trivial"]


@pytest.mark.parametrize("name", ["bias-as-weight", "momentum-dual", "mesa"])
def test_each_case_is_judged_as_if_it_were_alone(name: str) -> None:
    (unit,) = chosen([name])
    plan = Plan(batch=6, largest=4, span=(-20, 20))
    for seed in range(5):
        example = unit.draw(plan, torch.float32, "cpu", seeded(seed))
        pairs = unit.sides(example)
        seen = judged(pairs, 6)
        for i in range(6):
            alone = [compare(*(Tracked(s.value[i], s.error[i]) for s in pair)) for pair in pairs]
            assert bool(seen.finite[i]) == all(c.finite for c in alone)
            assert bool(seen.nontrivial[i]) == any(c.nontrivial for c in alone)
            if seen.finite[i]:
                assert float(seen.ratio[i]) == max(c.worst_ratio for c in alone)


@pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
def test_extreme_magnitudes_reach_both_ends_of_the_type(dtype: torch.dtype) -> None:
    low, high = exponent_range(dtype)
    limits = torch.finfo(dtype)
    ends = scaled(torch.ones(2, 1, 1, dtype=torch.float64), [low, high], dtype)
    assert 0 < float(ends[0]) < limits.smallest_normal and float(ends[0]) / 2 >= 0
    assert float(ends[1]) <= limits.max < 2 * float(ends[1])
    assert float((ends[0] / 2).to(dtype)) == 0.0  # nothing is smaller
    assert torch.isfinite(scaled(torch.full((1, 1, 1), 5.0).double(), [high], dtype)).all()


def test_a_planted_error_is_seen_in_every_entry_of_a_plain_product() -> None:
    for dtype in (torch.float64, torch.float32):
        (unit,) = chosen(["linear_attention"])
        cell = Cell(unit=unit, dtype=dtype, device="cpu", seed=0, draws=10, batch=8)
        found = planted(cell)
        assert found["output"]["seen"] == found["output"]["cases"] > 0


def test_every_variant_has_a_near_miss_here() -> None:
    assert set(NEAR_MISSES) == {u.id for u in units() if u.kind == "variant"}


def test_the_committed_run_covers_everything_there_is_and_found_no_violation() -> None:
    made = read_object(RESULTS / "cpu.json")
    assert [(c["id"], c["dtype"]) for c in made["cells"]] == [
        (u.id, name_of(d)) for u in units() for d in DTYPES
    ]
    assert sum(u.kind == "statement" for u in units()) == sum(s.claim == "true" for s in STATEMENTS)
    assert made["totals"]["cases"] == sum(c["cases"] for c in made["cells"]) >= 10**6
    for cell in made["cells"]:
        assert sum(cell[name] for name in CLASSES) == cell["cases"]
        assert cell["violations"] == 0 <= cell["worst_ratio"] <= 1
        assert cell["worst_ratio_underflowed"] <= 1 and cell["compared"] >= cell["cases"] / 3
    assert made["totals"]["violations"] == 0


def test_the_committed_page_is_made_from_the_committed_numbers() -> None:
    found = [
        (read_object(RESULTS / f"{d}.json"), read_object(RESULTS / f"{d}-provenance.json"))
        for d in ("cpu", "cuda")
        if d == "cpu" or (RESULTS / f"{d}.json").exists()
    ]
    same_printed(page(found), (RESULTS / "README.md").read_text(encoding="utf-8"))
