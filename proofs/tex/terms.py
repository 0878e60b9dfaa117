"""Math-mode LaTeX of a tree, exactly as it is written.

SymPy's own printer reorders sums and moves transposes, and prints the transpose of `x'` as a
double superscript, which TeX refuses; this one prints the trees of `proofs.terms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proofs.terms import ONE, Term, components, substitute

NAMES = {
    "D_V": r"{\Delta W_V}",
    "D_K": r"{\Delta W_K}",
    "gamma": r"\gamma",
    "gammas": r"{\boldsymbol\gamma}",
    "eta": r"\eta",
    "lam": r"\lambda",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "theta": r"\theta",
    "Phi": r"\Phi",
    "phi": r"\varphi",
}
SUM, PRODUCT, ATOM = 1, 2, 3


def _wrap(text: str) -> str:
    return rf"\left({text}\right)"


def _at(term: Term, level: int) -> str:
    """The term, in parentheses where it binds weaker than `level`."""
    own = {
        "sum": SUM,
        "negative": SUM,
        "product": PRODUCT,
        "scale": PRODUCT,
        "times": SUM,
        "khatri_rao": SUM,
    }.get(term.kind, ATOM)
    text = tex(term)
    return text if own >= level else _wrap(text)


def _factor(term: Term, *, first: bool) -> str:
    """A factor of a product; the left one may itself be a product, as products group leftwards."""
    return _at(term, PRODUCT if first and term.kind == "product" else ATOM)


def _sum(left: Term, right: Term) -> str:
    if right.kind == "negative":
        inner = right.args[0]
        return f"{_at(left, SUM)} - {_at(inner, PRODUCT)}"
    return f"{_at(left, SUM)} + {_at(right, SUM)}"


def _gradient(bound: Term, body: Term, at: Term) -> str:
    if at.kind == "symbol":
        return rf"\nabla_{{{tex(at)}}}\left[{tex(substitute(body, bound, at))}\right]"
    return rf"\left.\nabla_{{{tex(bound)}}}\left[{tex(body)}\right]\right|_{{U={tex(at)}}}"


def _fold(term: Term) -> str:
    """The last value of a state: its letter, and the recurrence in angle brackets below."""
    index, parts = components(term)
    moves = r",\; ".join(rf"{symbol_name('.' + c.name)} \leftarrow {tex(c.step)}" for c in parts)
    pairs = parts[0].pairs
    blocks = ", ".join(tex(b) for b, _ in pairs)
    over = ", ".join(tex(c) for _, c in pairs)
    starts = ", ".join(rf"{symbol_name('.' + c.name)} = {tex(c.start)}" for c in parts)
    kept = "" if len(parts) == 1 else rf"{symbol_name('.' + parts[index].name)}\colon "
    return (
        rf"\Bigl\langle {kept}{moves} \Bigr\rangle"
        rf"_{{{starts}}}^{{({blocks})\text{{ of }}({over})}}"
    )


def symbol_name(name: str) -> str:
    """A symbol's name; one of this package's own stands in braces, for a transpose may follow."""
    own = name.startswith(".")
    if name.startswith(".hat"):
        bare = symbol_name("." + name.removeprefix(".hat")).removeprefix("{").removesuffix("}")
        return rf"{{\hat {bare}}}"
    if name in NAMES:
        return NAMES[name]
    base, _, index = name.removeprefix(".").rpartition("_")
    if index == "demo":
        return f"{{{NAMES.get(base, base)}'}}"
    if not base:
        return NAMES.get(index, index)
    letter, _, low = base.partition("_")
    index = f"{low},{index}" if low else index
    letter = NAMES.get(letter, letter)
    return f"{{{letter}_{{{index}}}}}" if own else f"{letter}_{{{index}}}"


_ENTRYWISE = {"exp": r"\exp", "activation": r"\sigma", "causal": r"\operatorname{causal}"}
_UNARY = _ENTRYWISE | {"diag": r"\operatorname{diag}", "trace": r"\operatorname{tr}"}


def tex(term: Term) -> str:
    """Math-mode LaTeX of a tree."""
    args = term.args
    if term.kind in _LEAVES:
        return _LEAVES[term.kind](term)
    if term.kind in _UNARY:
        return rf"{_UNARY[term.kind]}\left({tex(args[0])}\right)"
    if term.kind in _SHAPES:
        return _SHAPES[term.kind](args)
    return _scalar(term.kind, args) if term.kind != "fold" else _fold(term)


_LEAVES: dict[str, Callable[[Term], str]] = {
    "symbol": lambda t: symbol_name(t.name),
    "zero": lambda t: "[\\;]" if t.shape[1] == () else "0",
    "identity": lambda t: "1" if t.shape == (ONE, ONE) else "I",
    "ones": lambda _: r"\mathbf{1}",
}


def _transposed(args: Sequence[Term]) -> str:
    inner = args[0]
    if inner.kind in ("transpose", "inverse"):
        return rf"{_wrap(tex(inner))}^{{\top}}"
    return rf"{_at(inner, ATOM)}^{{\top}}"


def _inverse(args: Sequence[Term]) -> str:
    inner = args[0]
    powered = inner.kind in ("transpose", "inverse")
    return rf"{_wrap(tex(inner)) if powered else _at(inner, ATOM)}^{{-1}}"


_SHAPES: dict[str, Callable[[Sequence[Term]], str]] = {
    "sum": lambda a: _sum(*a),
    "negative": lambda a: f"-{_at(a[0], PRODUCT)}",
    "product": lambda a: f"{_factor(a[0], first=True)} {_factor(a[1], first=False)}",
    "transpose": _transposed,
    "inverse": _inverse,
    "hcat": lambda a: r"\left[" + r"\;\;".join(map(tex, a)) + r"\right]",
    "vcat": lambda a: r"\begin{bmatrix}" + r" \\ ".join(map(tex, a)) + r"\end{bmatrix}",
    "scale": lambda a: f"{_at(a[0], PRODUCT)}\\, {_at(a[1], ATOM)}",
    "times": lambda a: rf"{_at(a[0], PRODUCT)} \odot {_at(a[1], PRODUCT)}",
    "khatri_rao": lambda a: rf"{_at(a[0], ATOM)} * {_at(a[1], ATOM)}",
    "output_gradient": lambda a: rf"G\bigl({tex(a[0])};\, {tex(a[1])}\bigr)",
    "gradient": lambda a: _gradient(*a),
}


def _scalar(kind: str, args: Sequence[Term]) -> str:
    if kind == "inner":
        return rf"\left\langle {tex(args[0])},\, {tex(args[1])}\right\rangle"
    if kind == "half_square":
        return rf"\tfrac12\bigl\|{tex(args[0])}\bigr\|_F^2"
    if kind == "weighted_square":
        return rf"\tfrac12\bigl\|{tex(args[0])}\bigr\|_{{{tex(args[1])}}}^2"
    return rf"\ell\bigl({tex(args[0])};\, {tex(args[1])}\bigr)"
