"""The conformance kit: right code passes, wrong code is found and named, nothing passes emptily."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from dualform.testing import (
    CHECKS,
    ConformanceError,
    Convention,
    Implementation,
    Uninformative,
    UnknownConvention,
    Unusable,
    attention_inputs,
    check_block_merging,
    check_chunks,
    check_linear_attention,
    check_momentum_attention,
    check_output,
    check_variant,
    checks_of,
)
from dualform.testing.loading import BadTarget, implementation
from dualform.variants import VARIANTS, MesaState, merge, softmax_attention
from dualform.variants.softmax import Partial
from empirical.verification.conformance import run as third_party
from empirical.verification.conformance.adapters import (
    diagonal_plus_low_rank,
    identity_plus_low_rank,
    mesa_exact,
    scan,
)
from empirical.verification.conformance.cases import CASES, Case
from empirical.verification.conformance.findings import Found
from tests.support.kernels import broken_kernels as _broken
from tests.support.kernels.broken_kernels import BROKEN, Broken
from tests.support.kernels.conformance_page import PAGE, message, page, without_bounds
from tests.support.paths import ROOT
from tests.support.printed import same_printed

pytestmark = pytest.mark.dual_form

FEW = 12
RESULTS = ROOT / "docs" / "results" / "third-party"


@pytest.mark.parametrize("form", ["slow", "fast"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_both_forms_of_every_rule_conform(name: str, form: str) -> None:
    chunk = {"chunk": "chunk"} if form == "fast" else {}
    of = Implementation(call=getattr(VARIANTS[name], form), names=chunk, grouped=True)
    reports = check_variant(of, name, examples=FEW)
    assert {r.check for r in reports} == set(CHECKS)
    assert all(r.examples >= FEW and 0 <= r.worst_ratio <= 1 for r in reports)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: b.title)
def test_a_broken_variant_is_found_and_named(broken: Broken) -> None:
    of = broken.implementation()
    assert broken.check in checks_of(of, broken.claims)
    with pytest.raises(ConformanceError) as caught:
        CHECKS[broken.check](of, broken.claims)
    finding = caught.value.finding
    assert not broken.hint or any(broken.hint in hint for hint in finding.hints)
    tokens = 2 if any(w in broken.title for w in ("mask", "chunk", "given", "inside")) else 1
    assert f"tokens {tokens}" in finding.example or broken.check in ("gradients", "output")


def test_the_page_shows_what_the_kit_says() -> None:
    text = PAGE.read_text()
    assert without_bounds(page(text)) == without_bounds(text), (
        "expected the messages of docs/conformance.md to be current, got other ones; "
        "run python -m tests.support.kernels.conformance_page"
    )


def test_the_message_has_every_part() -> None:
    said = message(BROKEN[2])
    for part in ("smallest example", "convention", "place", "got", "expected", "gap", "bound"):
        assert f"\n  {part}" in said
    assert "d_k 2" in said and "d_v 1" in said  # scaling by d_k^(-1/2) needs two channels to show


def _loop(
    order: str, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    S = torch.zeros(*k.shape[:-2], v.shape[-1], k.shape[-1]).to(k) if state is None else state
    outputs = []
    for t in range(k.shape[-2]):
        a, write = decay[..., t, None, None], v[..., t, :, None] * k[..., t, None, :]
        before = S
        S = a * S + write if order == "before" else S + write
        written = S
        S = a * S if order in ("after", "after read") else S
        seen = {"after read": written, "read first": before}.get(order, S)
        if order == "read first":
            S = a * before + write
        outputs.append((seen @ q[..., t, :, None]).squeeze(-1))
    return torch.stack(outputs, -2), S


def _ordered(order: str) -> Callable[..., Any]:
    def call(
        q: Tensor, k: Tensor, v: Tensor, decay: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return _loop(order, q, k, v, decay, state)

    return call


def _log(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    return _loop("before", q, k, v, decay.exp())


def _complement(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    return _loop("before", q, k, v, 1 - decay)


def _scaled(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    return _loop("before", q * q.shape[-1] ** -0.5, k, v, decay)


def _normalised(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
    ones = torch.ones_like(v[..., :1])
    made = _loop("before", q, k, torch.cat([v, ones], -1), decay)[0]
    return made[..., :-1] / made[..., -1:]


EXACT: dict[str, Any] = {"dtypes": (torch.float64, torch.float32)}
CONVENTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "decay after the write": (_ordered("after"), {"decay": "after write"}, {}),
    "decay after the read": (_ordered("after read"), {"decay": "after read"}, {}),
    "the read before the write": (_ordered("read first"), {"read": "before write"}, {}),
    "the gate decay in log space": (_log, {"gates": {"decay": "log"}}, {}),
    "the gate decay standing for": (_complement, {"gates": {"decay": "one minus"}}, {}),
    "queries scaled": (_scaled, {"query_scale": "inverse sqrt"}, {}),
    "outputs divided": (_normalised, {"normaliser": 0.0}, {"positive": True}),
}


@pytest.mark.parametrize("words", list(CONVENTIONS))
def test_a_convention_is_named_by_the_hint_and_passes_once_declared(words: str) -> None:
    call, convention, more = CONVENTIONS[words]
    declared = Implementation(call=call, convention=Convention(**convention), **EXACT, **more)
    reports = check_variant(declared, "scalar_decay", examples=FEW)
    assert {"output", "causality", "gradients"} <= {r.check for r in reports}
    undeclared = Implementation(call=call, **EXACT, **more)
    with pytest.raises(ConformanceError) as caught:
        check_output(undeclared, "scalar_decay")
    assert any(words in hint for hint in caught.value.finding.hints)


def test_two_conventions_are_named_together() -> None:
    def call(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
        return _scaled(q, k, v, decay.exp())

    with pytest.raises(ConformanceError) as caught:
        check_output(Implementation(call=call, **EXACT), "scalar_decay")
    (hint,) = (h for h in caught.value.finding.hints if "queries scaled" in h)
    assert "and the gate decay in log space" in hint
    assert "query_scale='inverse sqrt', gates={'decay': 'log'}" in hint


@pytest.mark.parametrize("axes", ["time head", "head column", "time"])
def test_axes_are_turned_there_and_back(axes: Any) -> None:
    def call(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        if axes == "time":
            o, S = _broken.right_delta(*(x[None, None] for x in (q, k, v, beta)))
            return o[0, 0], S[0, 0].mT
        turn: Callable[[Tensor], Tensor] = lambda x: x.transpose(1, 2)  # noqa: E731
        if axes == "head column":
            turn = lambda x: x.mT if x.dim() == 4 else x  # noqa: E731
        o, S = _broken.right_delta(*(turn(x) for x in (q, k, v, beta)))
        return turn(o), S.mT

    of = Implementation(call=call, convention=Convention(axes=axes, state="key value"), **EXACT)
    assert "final state" in {r.check for r in check_variant(of, "delta_rule", examples=FEW)}


def test_a_number_that_is_none_is_no_agreement() -> None:
    with pytest.raises(ConformanceError, match="got +nan"):
        check_output(lambda q, k, v: (q @ k.mT).tril() @ v * torch.nan, "linear_attention")


def test_another_shape_is_named() -> None:
    with pytest.raises(ConformanceError, match="the shape of o"):
        check_output(lambda q, k, v: ((q @ k.mT).tril() @ v)[..., :1, :1], "linear_attention")


def test_an_implementation_that_raises_is_shown_with_its_smallest_example() -> None:
    def even(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert k.shape[-2] % 2 == 0, "even lengths only"
        return (q @ k.mT).tril() @ v

    with pytest.raises(ConformanceError, match="AssertionError: even lengths only"):
        check_output(even, "linear_attention")
    of = Implementation(call=even, multiple=2, **EXACT)
    assert check_output(of, "linear_attention", examples=FEW).telling


def test_bounds_too_wide_to_tell_anything_are_no_pass() -> None:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).tril() @ v

    of = Implementation(call=call, dtypes=(torch.bfloat16,), accumulate="input", longest=9)
    with pytest.raises(Uninformative, match="tell right from wrong"):
        check_output(of, "linear_attention", examples=FEW)


def test_half_precision_inside_is_found_unless_declared() -> None:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).tril() @ v

    short: dict[str, Any] = {"dtypes": (torch.bfloat16,), "longest": 2, "widest": 2}
    with pytest.raises(ConformanceError):
        check_output(Implementation(call=call, **short), "linear_attention")


def test_linear_and_momentum_attention_and_chunks_by_name() -> None:
    assert check_linear_attention(VARIANTS["linear_attention"].fast, examples=FEW)
    assert check_momentum_attention(VARIANTS["momentum_attention"].fast, examples=FEW)
    of = Implementation(call=VARIANTS["kda"].fast, names={"chunk": "chunk"})
    assert check_chunks(of, "kda", examples=FEW).telling
    with pytest.raises(Unusable, match="expected an argument for the chunk size"):
        check_chunks(VARIANTS["kda"].slow, "kda")


def _merged(F: Tensor, m: Tensor, G: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    both = merge([Partial(m.unsqueeze(-1), F), Partial(n.unsqueeze(-1), G)])
    return both.output, both.log_mass.squeeze(-1)


def _base_two(F: Tensor, m: Tensor, G: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.logaddexp2(m, n)
    return (m - total).exp2()[..., None] * F + (n - total).exp2()[..., None] * G, total


def test_block_merging_is_checked_in_both_bases() -> None:
    assert check_block_merging(_merged).telling
    assert check_block_merging(_base_two, base=2.0).telling
    with pytest.raises(ConformanceError, match="agrees with logarithms to base 2"):
        check_block_merging(_base_two)
    with pytest.raises(ConformanceError, match="agrees with natural logarithms"):
        check_block_merging(_merged, base=2.0)
    with pytest.raises(ConformanceError, match="place +log Z"):
        check_block_merging(lambda F, m, G, n: (_merged(F, m, G, n)[0], torch.maximum(m, n)))
    with pytest.raises(Unusable, match="expected a pair"):
        check_block_merging(lambda F, m, G, n: F)  # type: ignore[arg-type,return-value]


@given(attention_inputs(dtypes=(torch.float64,)))
@settings(max_examples=FEW)
def test_the_strategy_draws_inputs_for_tests_of_ones_own(
    qkv: tuple[Tensor, Tensor, Tensor],
) -> None:
    q, k, v = qkv
    assert q.shape == k.shape and k.shape[:-1] == v.shape[:-1]
    assert softmax_attention(q, k, v).isfinite().all()


@pytest.mark.parametrize(
    ("of", "match"),
    [
        (("tests.support.kernels.broken_kernels", "delta_rule", []), "package.module:function"),
        (("tests._nowhere:f", "delta_rule", []), "a module 'tests._nowhere'"),
        (
            ("tests.support.kernels.broken_kernels:nothing", "delta_rule", []),
            "'nothing' in tests.support.kernels.broken_kernels",
        ),
        (
            ("tests.support.kernels.broken_kernels:SINGLE", "delta_rule", []),
            "expected a callable, got dict",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta", []),
            "expected a rule out of linear_attention",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["axes"]),
            "FIELD=VALUE",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["axes=x"]),
            "expected axes to be one of",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["beta=x"]),
            "expected gate beta to be",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["shape=x"]),
            "got 'shape'",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["longest=0"]),
            "at least 1, got '0'",
        ),
        (
            ("tests.support.kernels.broken_kernels:right_delta", "delta_rule", ["dtypes=int"]),
            "a type such as float32",
        ),
    ],
)
def test_a_bad_target_says_what_was_expected(of: Any, match: str) -> None:
    with pytest.raises(BadTarget, match=match):
        implementation(*of)


def test_a_target_takes_every_convention_from_the_command_line() -> None:
    made = implementation(
        "tests.support.kernels.broken_kernels:right_delta",
        "gated_delta_rule",
        ["axes=time head", "decay=log", "names.decay=g", "constants.flag=true", "chunks=2,4",
         "dtypes=float32,bfloat16", "longest=5", "square=true", "normaliser=1e-6",
         "accumulate=float32"],
    )  # fmt: skip
    assert made.convention == Convention(axes="time head", gates={"decay": "log"}, normaliser=1e-6)
    assert made.names == {"decay": "g"} and made.constants == {"flag": True}
    assert made.chunks == (2, 4) and made.longest == 5 and made.square
    assert made.dtypes == (torch.float32, torch.bfloat16) and made.accumulate == "float32"


def test_an_unknown_convention_lists_the_known_ones() -> None:
    with pytest.raises(UnknownConvention, match="'before write', 'after write'"):
        Convention(decay="later")  # type: ignore[arg-type]


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = ROOT
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "dualform.pytest_plugin", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip


def test_the_plugin_runs_the_checks_of_a_target_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("def test_other(): assert False\n")
    target = ("--dual-form-target", "tests.support.kernels.broken_kernels:right_delta")
    good = _pytest(
        tmp_path,
        *target,
        "--dual-form-variant",
        "delta_rule",
        "-k",
        "put or causality",
        "--dual-form-examples",
        "6",
    )
    assert good.returncode == 0 and "2 passed, 4 deselected" in good.stdout
    bad = _pytest(
        tmp_path, "--dual-form-target", "tests.support.kernels.broken_kernels:scaled_keys",
        "--dual-form-variant", "delta_rule", "-k", "output", "--dual-form-examples", "6",
    )  # fmt: skip
    assert bad.returncode == 1 and "keys scaled by d_k^(-1/2)" in bad.stdout
    assert "Traceback" not in bad.stdout


def test_the_plugin_refuses_half_a_question_and_keeps_out_of_other_runs(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    alone = _pytest(
        tmp_path, "--dual-form-target", "tests.support.kernels.broken_kernels:right_delta"
    )
    assert alone.returncode == 4 and "give both" in alone.stderr
    unknown = _pytest(
        tmp_path,
        "--dual-form-target",
        "tests.support.kernels.broken_kernels:right_delta",
        "--dual-form-variant",
        "x",
    )
    assert unknown.returncode == 4 and "expected a rule out of" in unknown.stderr
    own = _pytest(tmp_path)
    assert own.returncode == 0 and "1 passed" in own.stdout


@pytest.mark.parametrize(
    ("statement", "banned"),
    [
        ("import dualform.pytest_plugin", {"torch", "hypothesis", "dualform.testing"}),
        ("import dualform.variants", {"hypothesis", "pytest"}),
        ("import dualform.testing", {"transformers", "sympy", "proofs", "empirical", "pytest"}),
        (
            "import empirical.verification.conformance.run",
            {"fla", "titans_pytorch", "transformers"},
        ),
    ],
)
def test_the_kit_loads_no_more_than_it_needs(statement: str, banned: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(sorted({banned!r} & set(sys.modules)))"
    # What other packages plug into Hypothesis is theirs to load (trio's plugin takes pytest along).
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "HYPOTHESIS_NO_PLUGINS": "1"},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"


def judged(case: Case) -> third_party.Row:
    return third_party.judged(case, examples=FEW)


def _case(function: str, rule: str, **more: Any) -> Case:
    plain = {"dtypes": (torch.float32,)}
    return Case(
        package="pytest", function=f"tests.{function}", rule=rule, axes="head time", plain=plain,
        **more,
    )  # fmt: skip


def test_other_code_is_judged_in_four_ways() -> None:
    passes = judged(_case("_broken.right_delta", "delta_rule"))
    assert passes.verdict == "passes" and "state passing" in passes.passed
    differs = judged(
        _case("_broken.scaled_keys", "delta_rule", convention={"key_scale": "inverse sqrt"})
    )
    assert differs.verdict == "differs by convention" and "keys scaled" in differs.hint
    wrong = judged(_case("_broken.undecayed_residual", "gated_delta_rule"))
    assert wrong.verdict == "wrong" and "output" in wrong.failed
    near = judged(_case("_broken.short_state", "linear_attention", expected="a short state"))
    assert near.verdict == "approximates: a short state"
    for missing in ("_nowhere.f", "_broken.nothing"):
        assert judged(_case(missing, "delta_rule")).verdict == "could not run"


def test_the_adapters_pass_what_the_other_signature_means() -> None:
    def low_rank(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, gk: Any = None) -> Tensor:
        S, out = torch.zeros(*k.shape[:-2], k.shape[-1], v.shape[-1]).to(k), []
        for t in range(k.shape[-2]):
            erased = b[..., t, :, None] * (S * a[..., t, :, None]).sum(-2, keepdim=True)
            kept = S if gk is None else S * gk[..., t, :, None].exp()
            S = kept + erased + k[..., t, :, None] * v[..., t, None, :]
            out.append((q[..., t, None, :] @ S).squeeze(-2))
        return torch.stack(out, -2)

    one = Implementation(call=identity_plus_low_rank(low_rank), **EXACT)
    assert check_output(one, "delta_rule", examples=FEW).telling
    two = Implementation(
        call=diagonal_plus_low_rank(low_rank), convention=Convention(gates={"decay": "log"}),
        **EXACT,
    )  # fmt: skip
    assert check_output(two, "kda", examples=FEW).telling

    def scanned(gates: Tensor, writes: Tensor) -> Tensor:
        states = [writes[:, 0]]
        for t in range(1, writes.shape[1]):
            states.append(gates[:, t] * states[-1] + writes[:, t])
        return torch.stack(states, 1)

    three = Implementation(call=scan(scanned), **EXACT)
    assert check_variant(three, "channel_decay", examples=FEW)

    def minimiser(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, lamb: Tensor, beta: Tensor, **first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ridge = lamb.expand(*k.shape[:-2], k.shape[-1])
        state = MesaState(first["h_kv_init"], first["h_kk_init"]) if first else None
        o, (G, H) = VARIANTS["mesa"].slow(q, k, v, gamma=g, beta=beta, ridge=ridge, state=state)
        return o, H, G

    four = Implementation(call=mesa_exact(minimiser), **EXACT)
    assert "final state" in {r.check for r in check_variant(four, "mesa", examples=FEW)}


def test_the_committed_results_are_the_page_of_their_records() -> None:
    records = json.loads((RESULTS / "results.json").read_text())
    rows = [third_party.Row(**r) for r in records["rows"]]
    found = [Found(**f) for f in records["findings"]]
    page = third_party.page(rows, found, records["torch"])
    same_printed(page, (RESULTS / "README.md").read_text(encoding="utf-8"))
    assert [(r.package, r.function, r.rule) for r in rows] == [
        (c.package, c.function, c.rule) for c in CASES
    ]
    assert {r.verdict for r in rows} >= {"passes", "differs by convention", "wrong"}


class _Nudged(torch.autograd.Function):
    """The identity, with a gradient that is a little too large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> Tensor:
        return c * (1 + 2.0**-12)


def test_a_gradient_off_by_one_part_in_four_thousand_is_found_in_float32() -> None:
    def call(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
        return _broken.right_delta(q, k, _Nudged.apply(v), beta)[0]

    single = Implementation(call=call, dtypes=(torch.float32,))
    with pytest.raises(ConformanceError, match="place +gradient of v"):
        CHECKS["gradients"](single, "delta_rule")
