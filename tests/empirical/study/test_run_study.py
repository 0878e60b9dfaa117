"""`reproduce` under each kind of protocol: what is run once, what is shared, what is recorded."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from empirical.core import provenance
from empirical.core.undefined import Undefined
from empirical.results import record as records
from empirical.study import rate_selection, run_cell
from empirical.study.rate_trials import Trials
from tests.support.study import dualform, error_line

ARGS = ("reproduce", "--no-checks", "--k", 4, "--task", "mr")


def run(model: Path, data: Path, out: Path, *more: object):
    result = dualform(*ARGS, "--model", model, "--data", data, "--out", out, *more)
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


def test_seeds_share_one_zero_shot_run_and_have_a_record_each(
    model: Path, data: Path, tmp_path: Path
) -> None:
    said = run(
        model,
        data,
        tmp_path,
        "--protocol",
        "sound",
        "--seed",
        1,
        "--seed",
        2,
        "--rates",
        "0.01,0.1",
    )
    assert said.count("mr: zero-shot: 14 in") == 2  # the second reads what the first left
    found = {r.provenance.seed: r for r in records.read_all(tmp_path)}
    assert sorted(found) == [1, 2]
    one, two = found[1], found[2]
    assert one.metrics["zsl_accuracy"] == two.metrics["zsl_accuracy"]
    assert one.provenance.rule != two.provenance.rule
    assert one.provenance.rates_on == "training" and one.provenance.protocol == "sound"
    assert not (tmp_path / "captures").exists() and not list(tmp_path.glob("trials-*"))
    assert "mr, seed 1" in (tmp_path / "tables.md").read_text()


def test_zero_shot_of_the_second_seed_is_not_computed(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, computed = run_cell.parts, []
    import empirical.inference.capture_store as captures

    def counting(model_, queries, reading, context, *args, **more):
        for part in honest(model_, queries, reading, context, *args, **more):
            computed.append("icl" if context else "zsl")
            yield part

    monkeypatch.setattr(captures, "parts", counting)
    run(model, data, tmp_path, "--seed", 1, "--seed", 2, "--rates", "0.01")
    assert computed.count("icl") == 2 * computed.count("zsl") > 0


def test_the_search_takes_the_best_seed_by_icl_and_the_best_rate_on_the_evaluation_rows(
    model: Path, data: Path, tmp_path: Path
) -> None:
    run(model, data, tmp_path, "--protocol", "published-search", "--rates", "0.01,0.1,0.5")
    (found,) = records.read_all(tmp_path)
    made = found.provenance
    assert [s for s, _ in made.seed_selection] == [1, 2, 3, 4, 5, 6, 7]
    shares = {s: float(x) for s, x in made.seed_selection if not isinstance(x, Undefined)}
    assert made.seed == max(shares, key=lambda s: (shares[s], -s))
    assert found.metrics["icl_accuracy"].value == pytest.approx(shares[made.seed])
    assert made.rates_on == "evaluation" and len(made.selection) == 3
    rates = {r: float(x) for r, x in made.selection if not isinstance(x, Undefined)}
    assert found.metrics["ft_accuracy"].value == pytest.approx(rates[made.rate])  # its own rows
    assert made.rate == max(rates, key=lambda r: (rates[r], -r))
    command = made.command
    again = dualform(*command[1:], "--out", tmp_path / "again")
    assert again.exit_code == 0
    (same,) = records.read_all(tmp_path / "again")
    assert same == found


def test_a_run_killed_in_the_middle_of_a_cell_repeats_no_batch_and_no_trial(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (*ARGS, "--model", model, "--data", data, "--rates", "0.01,0.1,0.5")
    assert dualform(*args, "--out", tmp_path / "whole").exit_code == 0
    honest, tried = rate_selection.fine_tuned, []

    def stopping(model_, queries, labels, words, shown, rate, *more, **extra):
        if rate == 0.5 and len(tried) == 2:
            tried.append("stopped")
            raise KeyboardInterrupt
        tried.append(rate)
        return honest(model_, queries, labels, words, shown, rate, *more, **extra)

    monkeypatch.setattr(rate_selection, "fine_tuned", stopping)
    out = tmp_path / "o"
    line = error_line(dualform(*args, "--out", out), 130)
    assert line == "stopped; the same command goes on where it was"
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    assert kept and len(list(out.glob("trials-mr-s1-*.json"))) == 1
    seen: list[Path] = []
    write = run_cell.Store.write

    def noting(self, number, part):
        seen.append(self.path(number))
        write(self, number, part)

    monkeypatch.setattr(run_cell.Store, "write", noting)
    assert dualform(*args, "--out", out).exit_code == 0
    assert tried == [0.01, 0.1, "stopped", 0.5] and seen == []
    assert files(out) == files(tmp_path / "whole")


def files(folder: Path) -> dict[str, bytes]:
    """Every file but the timings; there is no folder."""
    found = (p for p in folder.iterdir() if p.name != "timing.json")
    return {p.name: p.read_bytes() for p in found}


@pytest.mark.parametrize("more", [("--seed", 1, "--seed", 2), ("--protocol", "published-search")])
def test_shards_in_any_order_end_in_the_bytes_of_one_run(
    model: Path, data: Path, tmp_path: Path, more: tuple[object, ...]
) -> None:
    args = ("--task", "cb", "--rates", "0.01,0.1", *more)
    run(model, data, tmp_path / "whole", *args)
    for shard in ("2/3", "3/3", "1/3"):
        said = run(model, data, tmp_path / "o", *args, "--shard", shard)
        assert f"shard {shard} is done" in said
    assert "computed again" not in run(model, data, tmp_path / "o", *args)
    assert files(tmp_path / "o") == files(tmp_path / "whole")
    for bad in ("0/2", "3/2", "x", "1"):
        line = error_line(dualform("reproduce", "--shard", bad))
        assert line == f"error: expected --shard I/N with I in 1..N, got {bad!r}; for example 1/2"


def test_a_process_that_is_killed_goes_on_and_ends_in_the_same_bytes(
    model: Path, data: Path, tmp_path: Path
) -> None:
    args = [*map(str, ARGS), "--model", str(model), "--data", str(data), "--rates", "0.01,0.1"]
    out = tmp_path / "o"
    process = subprocess.Popen(
        [sys.executable, "-m", "empirical.cli", *args, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(out.rglob("part-*")):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(out.rglob("part-*")) and not list(out.glob("record-*"))
    for folder in (out, tmp_path / "whole"):
        assert dualform(*args, "--out", folder).exit_code == 0
    assert files(out) == files(tmp_path / "whole")


def test_captures_of_other_code_are_not_taken(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model, data, tmp_path, "--rates", "0.01", "--keep-captures")
    before = {p.name for p in (tmp_path / "captures").iterdir()}
    assert {n.split("-")[0] for n in before} == {"zsl", "icl", "ft", "cell"}
    monkeypatch.setattr(provenance, "code_sha256", lambda: "0" * 64)
    said = run(model, data, tmp_path, "--rates", "0.01", "--keep-captures")
    assert "computed again" in said and "code_sha256" in said
    after = {p.name for p in (tmp_path / "captures").iterdir()}
    assert len(after) == 7 and before < after  # the note of the cell is replaced


def test_damaged_trials_are_begun_anew(tmp_path: Path) -> None:
    class Ready:
        task = type("T", (), {"name": "mr"})
        seed = 1

    trials = Trials.open(tmp_path, Ready(), "k")  # type: ignore[arg-type] # what is read of it
    trials.remember(0.1, 0.75)
    trials.remember(0.2, float("nan"))
    found = Trials.open(tmp_path, Ready(), "k").known()  # type: ignore[arg-type] # as above
    assert found[0] == (0.1, 0.75) and found[1][0] == 0.2 and np.isnan(found[1][1])
    trials.path.write_text('{"0.1": ')
    assert Trials.open(tmp_path, Ready(), "k").known() == ()  # type: ignore[arg-type] # as above
    assert Trials.open(tmp_path, Ready(), "other").known() == ()  # type: ignore[arg-type]
