"""`dualform check`: what it prints, what it writes, and its exit status."""

import json
import re
from pathlib import Path

import pytest
import torch

from empirical.identities.applicability import NOT_APPLICABLE
from empirical.identities.bindings import BINDINGS, TRAINED
from empirical.identities.check_layers import BESIDE
from empirical.identities.statement_comparison import StatementComparison
from empirical.results import identity_checks
from empirical.study import check_identities as checking
from proofs.statements import STATEMENTS
from tests.empirical.identities.test_check_layers import NOT_HERE
from tests.support.study import dualform, error_line

EVERY = [*BINDINGS, *BESIDE, *TRAINED]
HERE = [name for name in EVERY if name not in NOT_HERE]
CHECKS = 2 * (2 * len(HERE) - 2)  # two layers of two heads; two are on whole blocks


def run(model: object, data: Path, out: Path, *more: object):
    base = ("--task", "mr", "--data", data, "--k", 5, "--rate", "0.05", "--out", out)
    return dualform("check", model, *base, *more)


def test_it_prints_every_layer_and_ends_with_one_line_of_totals(
    model: Path, data: Path, tmp_path: Path
) -> None:
    result = run(model, data, tmp_path, "--queries", 2)
    assert result.exit_code == 0 and result.stderr == ""
    words = result.stdout[: result.stdout.index("└")].split()
    assert all(words.count(name) == 2 for name in HERE)  # two layers
    assert "not applicable, all layers: grouped-queries: every query head has " in result.stdout
    assert f"no place in a decoder: {len(NOT_APPLICABLE)} further statements" in result.stdout
    assert result.stdout.count("lambda 0.") == 2
    last = result.stdout.splitlines()[-1]
    value = json.loads(next(tmp_path.glob("*.json")).read_text())
    worst = value["summary"]["all"]
    assert last == (
        f"held: {CHECKS} checks over 2 layers and 2 heads, worst gap/bound "
        f"{worst['worst_ratio']:.3g}, smallest near miss {worst['near_miss_ratio']:.3g}"
    )
    assert 0 <= worst["worst_ratio"] <= 1 < worst["near_miss_ratio"]


def test_the_file_holds_every_number_and_where_it_comes_from(
    model: Path, data: Path, tmp_path: Path
) -> None:
    assert run(model, data, tmp_path, "--queries", 2).exit_code == 0
    (path,) = tmp_path.iterdir()
    assert path.name == re.sub(r"[^A-Za-z0-9._-]", "_", f"checks-{model}-mr.json")
    value = identity_checks.read(path)
    made = value["provenance"]
    assert (made["states"], made["arithmetic"], made["rate"]) == ("float32", "float64", 0.05)
    assert (made["k"], made["k_asked"], made["queries"], made["seed"]) == (5, 5, 2, 1)
    assert made["statements"] == EVERY and len(made["weights_sha256"]) == 64
    assert made["command"][:3] == ["dualform", "check", str(model)]
    assert made["versions"]["torch"] == torch.__version__ and made["threads"] == 1
    ratios = [
        h["worst_ratio"]
        for layer in value["layers"]
        for heads in layer["statements"].values()
        for h in heads
    ]
    assert len(ratios) == value["counts"]["checks"] == CHECKS
    given = {name for layer in value["layers"] for name in layer["not_applicable"]}
    assert given == set(NOT_HERE) == {x["statement"] for x in value["not_applicable"]}
    # Every id of the catalogue is there: checked, or with a reason.
    told = {*value["no_site"], *given, *value["summary"]["statements"]}
    assert told == {s.id for s in STATEMENTS} | set(BESIDE)
    assert max(ratios) == value["summary"]["all"]["worst_ratio"]
    mass = value["summary"]["softmax"]["demonstrations"]
    assert 0 < mass["low"] <= mass["mean"] <= mass["high"] < 1 and mass["total"] == 2 * 2 * 2


def test_the_same_command_gives_the_same_bytes_also_in_place(
    model: Path, data: Path, tmp_path: Path
) -> None:
    def made(out: Path) -> bytes:
        assert run(model, data, out).exit_code == 0
        (path,) = out.iterdir()
        return path.read_bytes()

    first = made(tmp_path / "a")
    assert made(tmp_path / "b") == first == made(tmp_path / "a")


def test_the_recorded_command_makes_the_file_again(model: Path, data: Path, tmp_path: Path) -> None:
    assert run(model, data, tmp_path / "a", "--queries", 2).exit_code == 0
    (path,) = (tmp_path / "a").iterdir()
    command = json.loads(path.read_text())["provenance"]["command"]
    assert dualform(*command[1:], "--out", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()


def test_a_refusal_ends_with_status_one_and_is_written_down(
    model: Path, data: Path, tmp_path: Path
) -> None:
    line = error_line(run(model, data, tmp_path, "--rate", "1e-5", "--dtype", "float32"), 1)
    assert line.startswith("refused: expected the near miss to be refused at many-steps-dual, ")
    assert line.endswith("; float32 cannot see small terms, try --dtype float64")
    (path,) = tmp_path.iterdir()
    value = identity_checks.read(path)
    assert value["refusal"] in line and value["provenance"]["arithmetic"] == "float32"


def test_a_planted_error_in_one_head_is_refused_by_name(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = StatementComparison.sides

    def planted(self, at):
        (sides,) = honest(self, at)
        if self.id == "context-split":
            sides.right.value[1] *= 1 + 1e-9
        return (sides,)

    monkeypatch.setattr(StatementComparison, "sides", planted)
    line = error_line(run(model, data, tmp_path), 1)
    assert line.startswith(
        "refused: expected gap/bound of at most 1 at context-split, layer 0, head 1, got "
    )


def test_a_diverging_update_is_bad_input(model: Path, data: Path, tmp_path: Path) -> None:
    line = error_line(run(model, data, tmp_path, "--rate", "1e300"))
    assert "got a divergence" in line and not list(tmp_path.iterdir())


def test_a_random_model_is_checked_with_a_given_tokenizer(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Its weights are small, so is the update: the term of second order is still seen."""
    for name in ("random:16x2x2", "random:16x2x2@1"):
        assert run(name, data, tmp_path, "--tokenizer", model).exit_code == 0
    one, two = (identity_checks.read(p)["provenance"] for p in sorted(tmp_path.iterdir()))
    assert one["weights_sha256"] != two["weights_sha256"]
    assert (one["model"], two["model"]) == ("random:16x2x2", "random:16x2x2@1")


def test_the_arithmetics_are_what_they_are_called() -> None:
    assert checking.ARITHMETICS == {"float32": torch.float32, "float64": torch.float64}


def test_a_figure_is_drawn_where_asked(model: Path, data: Path, tmp_path: Path) -> None:
    figure = tmp_path / "layers.svg"
    result = run(model, data, tmp_path / "out", "--figure", figure)
    assert result.exit_code == 0 and f"figure: {figure}" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("held: ")
    assert "share of softmax" not in result.stderr and figure.read_text().startswith("<?xml")


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_computed(
    model: Path, data: Path, tmp_path: Path
) -> None:
    line = error_line(run(model, data, tmp_path, "--figure", tmp_path / "layers.pdf"))
    assert line.startswith("error: expected a figure that ends in .svg or .png, got ")
    assert not list(tmp_path.iterdir())
