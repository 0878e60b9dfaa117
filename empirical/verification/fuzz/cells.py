"""One cell of the fuzzer: a statement or variant in one type on one device, case by case.

A case is *overflowed* when a value or bound is not finite, *trivial* when both sides are zero
everywhere or empty, *underflowed* when no value reaches the smallest normal number (there the bound
is its underflow term), else *compared*. A *violation* is a gap over its bound in a finite case.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualform.rounding import UNIT_ROUNDOFF, Tracked
from empirical.verification.fuzz.draws import Example, Plan, exponent_range, name_of, seeded
from empirical.verification.fuzz.units import Pair, Unit

CLASSES = ("compared", "trivial", "overflowed", "underflowed")
STRATA = ("ordinary", "wide", "ordinary", "wide", "extreme")  # of draws 0, 1, 2, 3, 4, 5 = 0, ...
PLANTED = 100  # units of roundoff
PLANTED_IN = (torch.float64, torch.float32)
KEPT = 3  # violations of a cell that are described
USUALLY = 0.9  # share of cases that must stay finite over the wide range
Tick = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What to draw; `draws` batches of `batch` cases, a tenth as many for each sharpness check."""

    unit: Unit
    dtype: torch.dtype
    device: str
    seed: int
    draws: int
    batch: int

    @property
    def checks(self) -> int:
        """Draws for the near miss, and for each planted error."""
        return max(1, self.draws // 10)

    @property
    def largest(self) -> int:
        """float16 is slow on a CPU."""
        return 5 if self.dtype == torch.float16 and self.device == "cpu" else 7

    def examples(self, phase: str, count: int, **plan: Any) -> Iterator[Example]:
        """Draws 0, 1, ... of a phase; each depends on the seed, the cell and its number alone."""
        for i in range(count):
            yield self.example(phase, i, **plan)

    def example(self, phase: str, i: int, **plan: Any) -> Example:
        """One draw."""
        generator = seeded(self.seed, self.unit.id, name_of(self.dtype), phase, i)
        made = Plan(batch=self.batch, largest=self.largest, **plan)
        return self.unit.draw(made, self.dtype, self.device, generator)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """For each case: largest gap/bound, and what kind of case it is."""

    ratio: Tensor
    finite: Tensor
    nontrivial: Tensor
    normal: Tensor

    @property
    def compared(self) -> Tensor:
        """Whether the comparison says something about rounding."""
        return self.finite & self.nontrivial & self.normal

    @property
    def refused(self) -> Tensor:
        """Whether the bound tells the sides apart."""
        return self.finite & (self.ratio > 1)

    def classes(self) -> list[str]:
        """The name of each case's class."""
        flags = (self.finite.tolist(), self.nontrivial.tolist(), self.normal.tolist())
        made = []
        for finite, nontrivial, normal in zip(*flags, strict=True):
            if not finite:
                made.append("overflowed")
            elif not nontrivial:
                made.append("trivial")
            else:
                made.append("compared" if normal else "underflowed")
        return made


def by_case(value: Tensor, cases: int, matrix: Sequence[int]) -> Tensor:
    """[cases, entries], constants repeated.

    Raises:
        ValueError: for a matrix of another shape.
    """
    if tuple(value.shape[-2:]) != tuple(matrix):
        raise ValueError(f"expected sides of one shape, got {tuple(value.shape)} and {matrix}")
    lead = value.shape[1:-2] if value.dim() > 2 else ()
    return value.expand(cases, *lead, *matrix).reshape(cases, -1)


def rows(side: Tracked, cases: int) -> Tracked:
    """Each case as one row [cases, 1, entries]."""
    matrix = side.value.shape[-2:]
    value, error = (by_case(t, cases, matrix).unsqueeze(1) for t in (side.value, side.error))
    return Tracked(value, error)


def judged(pairs: Sequence[Pair], cases: int) -> Judged:
    """As `dualform.rounding.compare`, case by case, over all pairs."""
    parts = [_judged(left, right, cases) for left, right in pairs]
    ratio = torch.stack([p.ratio for p in parts]).amax(0)
    finite = torch.stack([p.finite for p in parts]).all(0)
    nontrivial, normal = (
        torch.stack([getattr(p, name) for p in parts]).any(0) for name in ("nontrivial", "normal")
    )
    return Judged(ratio=ratio, finite=finite, nontrivial=nontrivial, normal=normal)


def _judged(left: Tracked, right: Tracked, cases: int) -> Judged:
    matrix = left.value.shape[-2:]
    a, b, e, f = (
        by_case(t, cases, matrix).cpu() for t in (left.value, right.value, left.error, right.error)
    )
    bound, gap = e + f, (a.double() - b.double()).abs()
    ratio = torch.where(gap == 0, torch.zeros_like(gap), gap / bound)
    least = torch.finfo(a.dtype).smallest_normal
    none = ratio.new_zeros(cases, 1)  # where there are no entries
    return Judged(
        ratio=torch.cat([ratio, none], 1).amax(1),
        finite=(torch.isfinite(gap) & torch.isfinite(bound)).all(1),
        nontrivial=((a != 0) | (b != 0)).any(1),
        normal=((a.double().abs() >= least) | (b.double().abs() >= least)).any(1),
    )


def measure(cell: Cell, tick: Tick = lambda _: None) -> dict[str, Any]:
    """All numbers of a cell; `tick` is told of the cases as they are done."""
    reach = wide_reach(cell)
    spans = {
        "ordinary": (-2, 2),
        "wide": (-reach, reach),
        "extreme": exponent_range(cell.dtype),
    }
    counts = {name: Counter[str]() for name in spans}
    worst = {"compared": 0.0, "underflowed": 0.0}
    found: list[dict[str, Any]] = []
    for i in range(cell.draws):
        stratum = STRATA[i % len(STRATA)]
        example = cell.example("cases", i, span=spans[stratum])
        seen = judged(cell.unit.sides(example), cell.batch)
        counts[stratum].update(seen.classes())
        counts[stratum]["violations"] += int(seen.refused.sum())
        for name, chosen in (
            ("compared", seen.compared),
            ("underflowed", seen.finite & ~seen.compared),
        ):
            worst[name] = max(worst[name], _largest(seen.ratio[chosen]))
        found += described(example, seen, i, stratum)[: KEPT - len(found)]
        tick(cell.batch)
    return {
        "id": cell.unit.id,
        "kind": cell.unit.kind,
        "dtype": name_of(cell.dtype),
        "wide_exponents": reach,
        "cases": cell.draws * cell.batch,
        **_summed(list(counts.values())),
        "strata": {name: _summed([c]) for name, c in counts.items()},
        "worst_ratio": worst["compared"],
        "worst_ratio_underflowed": worst["underflowed"],
        "near_miss": near_miss(cell),
        "planted": planted(cell) if cell.dtype in PLANTED_IN else None,
        "violating": found,
    }


def _largest(ratios: Tensor) -> float:
    """0 for none, and what JSON holds where a bound is zero."""
    return min(float(ratios.max()), sys.float_info.max) if len(ratios) else 0.0


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(c[name] for c in counts) for name in (*CLASSES, "violations")}


def described(example: Example, seen: Judged, draw: int, stratum: str) -> list[dict[str, Any]]:
    """The violations of one draw: enough to draw each again."""
    return [
        {
            "draw": draw,
            "case": case,
            "stratum": stratum,
            "ratio": _largest(seen.ratio[case : case + 1]),
            "sizes": example.sizes,
            "layout": example.layout,
            "block": example.block,
            "options": example.options,
            "exponents": {name: powers[case] for name, powers in example.exponents.items()},
        }
        for case in seen.refused.nonzero().flatten().tolist()
    ]


def wide_reach(cell: Cell) -> int:
    """The largest exponent with nine cases in ten finite, halving from the top of the type."""
    reach = exponent_range(cell.dtype)[1]
    while reach > 1:
        trials = cell.examples(f"reach {reach}", 2, least=2, span=(-reach, reach))
        finite = [judged(cell.unit.sides(x), cell.batch).finite for x in trials]
        if float(torch.cat(finite).double().mean()) >= USUALLY:
            break
        reach //= 2
    return reach


def near_miss(cell: Cell) -> dict[str, Any]:
    """Among ordinary compared cases of sizes from 2, one example a step: in how many it is refused.

    `smallest_ratio` is that of the compared case which is nearest to being taken for true.
    """
    compared, refused, smallest = 0, 0, math.inf
    for example in cell.examples("near miss", cell.checks, least=2):
        seen = judged([cell.unit.near(example)], cell.batch)
        compared += int(seen.compared.sum())
        refused += int((seen.compared & seen.refused).sum())
        smallest = min([smallest, *seen.ratio[seen.compared].tolist()])
    least = min(smallest, sys.float_info.max) if compared else None
    return {"compared": compared, "refused": refused, "smallest_ratio": least}


def planted(cell: Cell) -> dict[str, Any]:
    """100 units of roundoff in one entry in [1, 2) of one side: in how many cases they are seen.

    `input`: in an entry of one of the inputs, each in turn; `output`: in a non-zero entry of the
    result.
    """
    tried, seen, names = Counter[str](), Counter[str](), list[str]()
    for i, example in enumerate(cell.examples("planted", cell.checks, least=2, positive=True)):
        names = list(example.inputs)
        generator = seeded(cell.seed, cell.unit.id, name_of(cell.dtype), "entry", i)
        off = {name: x.clone() for name, x in example.inputs.items()}
        for j, name in enumerate(names):
            _plant(off[name], range(j, cell.batch, len(names)), generator)
        sides = judged(cell.unit.sides(example, off), cell.batch)
        for case, told in enumerate(sides.refused.tolist()):
            tried[names[case % len(names)]] += 1
            seen[names[case % len(names)]] += told
        left, right = (rows(side, cell.batch) for side in cell.unit.sides(example)[0])
        wrong = left.value.clone()
        changed = _plant(wrong, range(cell.batch), generator)
        told_apart = judged([(Tracked(wrong, left.error), right)], cell.batch).refused.tolist()
        tried["the result"] += sum(changed)
        seen["the result"] += sum(a and b for a, b in zip(changed, told_apart, strict=True))
    by_input = {name: {"cases": tried[name], "seen": seen[name]} for name in names}
    return {
        "input": {
            "cases": sum(tried[name] for name in names),
            "seen": sum(seen[name] for name in names),
            "by_input": by_input,
        },
        "output": {"cases": tried["the result"], "seen": seen["the result"]},
    }


def _plant(value: Tensor, cases: Sequence[int], generator: torch.Generator) -> list[bool]:
    """Err in one entry of each of these cases, in place; whether that changed it."""
    flat = value.reshape(len(value), -1)
    assert flat.data_ptr() == value.data_ptr(), "a view, so that it is changed in place"
    changed = []
    for case in cases:
        at = int(torch.randint(flat.shape[1], (), generator=generator))
        before = float(flat[case, at])
        flat[case, at] *= 1 + PLANTED * UNIT_ROUNDOFF[value.dtype]
        changed.append(float(flat[case, at]) != before)
    return changed
