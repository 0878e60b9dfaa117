"""README.md of the fuzzer's results (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from empirical.core.markdown import pipe_row

Summary = Mapping[str, Any]
DTYPES = ("float64", "float32", "bfloat16", "float16")

WORDS = """\
A case is one set of matrices, each with a power of two of its own. Of five draws two are
*ordinary* (exponents from -2 to 2), two *wide* (plus or minus the exponents at which nine cases in
ten stay finite, halved from the top of the type) and one *extreme* (the whole type, subnormal
numbers included). Sizes go from 0 to 7 (5 for float16 on a CPU), blocks and chunks from 1 to 3, in
four memory layouts; variants also draw groups, repeats and gates.

* *overflowed*: a value or a bound is not finite, so that nothing is said;
* *trivial*: both sides are zero everywhere (some by underflow), or empty;
* *underflowed*: no value reaches the smallest normal number; the bound there is its underflow term;
* *compared*: all others; *gap/bound* is the largest of these, over all entries.

*near miss*: of the ordinary compared cases with sizes from 2, one example a step, how many the
bound refuses. Where a softmax saturates, a near miss may hold exactly; where a recurrence grows,
its bound does too, and in float16 and bfloat16 some near misses drown in rounding.

*planted in*: a relative error of 100 units of roundoff in one entry of one side only, all entries
of the inputs in [1, 2) (gates in [0.125, 0.875)), sizes 2 to 7: in how many cases the bound sees
it, when the entry is one of an input, and when it is one of the result. Some inputs hardly move
the result or cancel from it, and bounds grow with the numbers inside a long recurrence, an
exponential or an inverse. These shares are measured; nothing was chosen to improve them.

A worst gap/bound of 0 says that both sides round alike, bit for bit."""


def page(found: Sequence[tuple[Summary, Mapping[str, Any]]]) -> str:
    """The page of all devices at hand."""
    lines = ["# Rounding bounds, fuzzed", "", WORDS, ""]
    for made, origin in found:
        lines += _device(made, origin)
    return "\n".join(lines).rstrip() + "\n"


def _device(made: Summary, origin: Mapping[str, Any]) -> list[str]:
    machine = origin["machine"]
    on = machine["gpu"] or machine["processor"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    total = made["totals"]
    lines = [
        f"## {made['device']}",
        "",
        f"`{origin['command']}`, {versions}, {on}, one thread a worker, "
        f"{origin['seconds']:.0f} s of computing.",
        "",
        f"{total['cases']:,} cases, {total['compared']:,} of them compared, "
        f"**{total['violations']} violations**.",
        "",
        "| | cases | compared | trivial | overflowed | underflowed | violations "
        "| worst gap/bound | of the underflowed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_totals(d, made["totals_by_dtype"][d]) for d in DTYPES]
    lines += [
        "",
        "| | compared | trivial | overflowed | underflowed | violations |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        pipe_row([name, *_counts(t), f"{t['violations']}"])
        for name in dict.fromkeys(made["strata"])
        for t in [made["totals_by_stratum"][name]]
    ]
    lines += ["", *_weak(made["cells"])]
    for dtype in DTYPES:
        lines += _table(dtype, [c for c in made["cells"] if c["dtype"] == dtype])
    return lines


def _totals(name: str, t: Mapping[str, Any]) -> str:
    worst = [f"{t[which]:.2g}" for which in ("worst_ratio", "worst_ratio_underflowed")]
    return pipe_row([name, f"{t['cases']:,}", *_counts(t), f"{t['violations']}", *worst])


def _counts(t: Mapping[str, Any]) -> list[str]:
    return [f"{t[kind]:,}" for kind in ("compared", "trivial", "overflowed", "underflowed")]


def _weak(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Near misses that float64 and float32 let by, and planted errors that they never see."""
    sharp = [c for c in cells if c["planted"] is not None]
    let_by = [
        f"{c['id']} in {c['dtype']} ({c['near_miss']['compared'] - c['near_miss']['refused']} of "
        f"{c['near_miss']['compared']})"
        for c in sharp
        if c["near_miss"]["refused"] < c["near_miss"]["compared"]
    ]
    lines = ["Near misses that float64 or float32 let by: " + (", ".join(let_by) or "none") + "."]
    for kind, words in (("input", "an input"), ("output", "the result")):
        seen = [c["planted"][kind] for c in sharp]
        every = sum(x["seen"] == x["cases"] for x in seen)
        never = [f"{c['id']} in {c['dtype']}" for c in sharp if not c["planted"][kind]["seen"]]
        lines += [
            "",
            f"Errors planted in {words} are seen in every case for {every} of {len(sharp)} rows of "
            f"float64 and float32, and never for: {', '.join(never) or 'none'}.",
        ]
    return [*lines, ""]


def _table(dtype: str, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"### {dtype}",
        "",
        "| | compared | overflowed | underflowed | worst gap/bound | near miss "
        "| planted in an input | in the result | wide |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for c in cells:
        planted = c["planted"] or {"input": None, "output": None}
        near = c["near_miss"]
        counts = [f"{c[kind]:,}" for kind in ("compared", "overflowed", "underflowed")]
        shares = [_share(near["refused"], near["compared"])]
        shares += [_seen(planted[kind]) for kind in ("input", "output")]
        row = [c["id"], *counts, f"{c['worst_ratio']:.2g}", *shares, f"±{c['wide_exponents']}"]
        lines.append(pipe_row(row))
    return [*lines, ""]


def _seen(counts: Mapping[str, int] | None) -> str:
    return "" if counts is None else _share(counts["seen"], counts["cases"])


def _share(some: int, of: int) -> str:
    """In percent, never rounded to all or none."""
    if not of:
        return "none"
    percent = 100 * some / of
    if some in (0, of):
        return f"{percent:.0f}%"
    return f"{min(max(percent, 0.1), 99.9):.1f}%"
