"""Hashes change with what they cover and with nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from empirical.core import provenance
from empirical.core.undefined import Undefined
from empirical.metrics.accumulate import measure
from empirical.models import digest
from tests.support.models.tiny_models import tiny
from tests.support.paths import ROOT
from tests.support.results.records import Outcome


def test_the_hash_of_weights_sees_every_bit_and_the_dtype():
    one, two = tiny(torch.float32).model, tiny(torch.float32).model
    before = digest.weights_sha256(one)
    assert before == digest.weights_sha256(two)
    with torch.no_grad():
        two.model.layers[1].self_attn.v_proj.bias[0] += 1e-3
    assert digest.weights_sha256(two) != before
    assert digest.weights_sha256(one.to(torch.bfloat16)) != before


def test_there_is_no_commit_outside_a_checkout(tmp_path):
    assert provenance.commit(tmp_path) is None
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert provenance.commit(tmp_path) is None


def test_versions_name_what_numbers_depend_on():
    found = provenance.versions()
    assert set(found) == set(provenance.PACKAGES) and found["torch"] == torch.__version__


def test_an_inert_finetuning_has_undefined_updates_and_no_difference():
    labels = np.arange(20) % 2
    zsl, icl = (Outcome(np.random.default_rng(i), labels) for i in range(2))
    found = measure(zsl, icl, zsl, np.random.default_rng(0))
    assert found["sim_am_difference"].value == 0.0
    assert found["sim_am_before"].value == found["sim_am_after"].value
    for name in ("sim_aou", "sim_aou_floor", "sim_aou_unnormalised", "sim_am_delta", "rec2ftp"):
        assert isinstance(found[name].value, Undefined), name
    assert found == measure(zsl, icl, zsl, np.random.default_rng(0))
    other = Outcome(np.random.default_rng(2), labels[::-1])
    with pytest.raises(ValueError, match="same examples"):
        measure(zsl, icl, other, np.random.default_rng(0))


NOT_COMPUTING = ("analysis", "report", "verification", "cli")


def changes(root: Path, name: str) -> bool:
    """Whether the hash of the code changes when this file does."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1\n", encoding="utf-8")
    before = provenance.code_sha256()
    path.write_text("2\n", encoding="utf-8")
    return provenance.code_sha256() != before


def test_every_package_either_computes_or_is_named_as_one_that_does_not() -> None:
    packages = {p.name for p in (ROOT / "empirical").iterdir() if (p / "__init__.py").exists()}
    computing = {Path(name).name for name in provenance.COMPUTING} - {"dualform"}
    assert computing | set(NOT_COMPUTING) == packages and not computing & set(NOT_COMPUTING)
    assert all((ROOT / name).is_dir() for name in provenance.COMPUTING)


def test_what_only_reads_results_does_not_count_as_code_that_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "empirical/core/provenance.py"))
    for package in provenance.COMPUTING:
        assert changes(tmp_path, f"{package}/deep/down.py"), package
    for package in NOT_COMPUTING:
        assert not changes(tmp_path, f"empirical/{package}/deep/down.py"), package


def test_the_hash_of_the_code_sees_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "empirical/core/provenance.py"))
    assert changes(tmp_path, "dualform/ops.py")
    before = provenance.code_sha256()
    (tmp_path / "dualform/ops.py").rename(tmp_path / "dualform/other.py")
    assert provenance.code_sha256() != before


def test_where_numbers_come_from_is_asked_without_torch() -> None:
    code = "import sys; from empirical.core import provenance; provenance.code_sha256(); "
    code += "provenance.versions(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    assert provenance.peak_memory_gib() > 0
