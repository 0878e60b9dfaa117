"""A result is reused only when every one of its inputs is the same."""

import dataclasses

import pytest

from empirical.identities.applicability import NOT_APPLICABLE
from empirical.results import identity_checks, reuse
from empirical.results import record as records
from empirical.results.identity_checks import CheckProvenance
from empirical.results.record import Provenance
from tests.support.results.records import record

METRICS = frozenset(record().metrics)
OTHER = {"revision": "abc", "k_asked": 3, "rates": (0.5,), "versions": {"torch": "3"}}
OUTCOMES = {"rate", "selection", "seed_selection", "commit", "command"}


def changed(value: object, name: str) -> object:
    """The provenance with another value of the right type in one field."""
    old = getattr(value, name)
    new = OTHER.get(name, f"{old}x" if isinstance(old, str) else None)
    if name == "statements":
        new = ("other",)
    return dataclasses.replace(value, **{name: old + 1 if new is None else new})  # type: ignore[type-var] # a dataclass


def test_every_field_of_a_provenance_is_an_input_or_an_outcome() -> None:
    fields = {f.name for f in dataclasses.fields(Provenance)}
    assert set(reuse.INPUTS) | OUTCOMES == fields and not set(reuse.INPUTS) & OUTCOMES
    fields = {f.name for f in dataclasses.fields(CheckProvenance)}
    assert set(identity_checks.INPUTS) == fields - {"commit", "command"}


@pytest.mark.parametrize("name", [n for n in reuse.INPUTS if n not in ("model", "seed")])
def test_one_other_input_is_enough_to_compute_a_record_again(tmp_path, name: str) -> None:
    old = record()
    path = records.write(old, tmp_path)
    same = reuse.find(tmp_path, "sst2", old.provenance, METRICS)
    assert (
        same.record == old and same.line == f"sst2: reused {path.name}, made with the same settings"
    )
    found = reuse.find(tmp_path, "sst2", changed(old.provenance, name), METRICS)
    assert found.record is None
    assert found.line.startswith(f"sst2: computed again, {path.name} was made with ")
    assert name in found.line or (name == "versions" and "torch 2, now 3" in found.line)


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_outcomes_do_not_matter_since_they_follow(tmp_path, name: str) -> None:
    old = record()
    records.write(old, tmp_path)
    other = {
        "rate": 9.0,
        "selection": (),
        "seed_selection": (),
        "commit": "f" * 40,
        "command": ("x",),
    }[name]
    wanted = dataclasses.replace(old.provenance, **{name: other})
    assert reuse.find(tmp_path, "sst2", wanted, METRICS).record == old


def checks() -> CheckProvenance:
    shared = {f.name for f in dataclasses.fields(CheckProvenance)}
    given = {k: v for k, v in vars(record().provenance).items() if k in shared}
    return CheckProvenance(
        **given, queries=1, steps=3, states="float32", arithmetic="float64", statements=("s",)
    )


@pytest.mark.parametrize("name", [n for n in identity_checks.INPUTS if n != "model"])
def test_one_other_input_is_enough_to_check_again(tmp_path, name: str) -> None:
    from empirical.identities.check_layers import LayerCheck
    from empirical.results.identity_checks import Checks

    one = LayerCheck(statement="s", layer=0, head=0, worst_ratio=0.5, near_miss_ratio=9.0,
                     nontrivial=True, finite=True)  # fmt: skip
    done = Checks(checks=(one,), shares=(), queries=1, refusal=None)
    value = identity_checks.document(done, "mr", checks(), NOT_APPLICABLE)
    identity_checks.write(value, tmp_path)
    assert identity_checks.find(tmp_path, "mr", checks()).value == value
    found = identity_checks.find(tmp_path, "mr", changed(checks(), name))  # type: ignore[arg-type] # the same type
    assert found.value is None and "mr: checked again, checks-" in found.line


def test_nothing_there_is_nothing_to_say(tmp_path) -> None:
    found = reuse.find(tmp_path, "sst2", record().provenance, METRICS)
    assert found == reuse.Found(record=None, line="")
    assert identity_checks.find(tmp_path, "mr", checks()) == identity_checks.Found(
        value=None, line=""
    )
