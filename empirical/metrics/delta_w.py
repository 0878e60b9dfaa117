"""What a context does to a head's weights against what finetuning does: both written as matrices.

Relaxed attention over own tokens is W_ZSL q; demonstrations add Delta W_ICL q, finetuned
projections on the same layer inputs add Delta W_FT q. Here the two updates are compared, and their
effects on the asking query, relaxed and under real softmax. Own tokens are those of the zero-shot
sequence: BOS, where the asking token sees it, and the query. Arrays only (numpy, scipy), float64.
Letters: h head width, C demonstration tokens, M own tokens, n rotations. Source: Dai et al., arXiv
2212.10559 v3, equations 10-13; the comparison itself is not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import special, stats

from empirical.core.errors import UserError
from empirical.core.undefined import Number, Undefined
from empirical.metrics.similarity import Array, cosines

DRAWS = 200
SUBSPACE = 4  # leading directions that are compared, at most

UNSEEN = (
    "the in-context update of the head is zero: the asking token sees no demonstration, or only "
    "values or keys that are zero"
)
UNMOVED = (
    "finetuning leaves the keys and values of the head as they are: its steps are below the "
    "rounding of the weights"
)
NO_WEIGHTS = "the zero-shot weights of the head are zero"
NO_EFFECT = "an effect on the query is zero"
TIE = "the leading directions are not unique: their singular value and the next are equal"


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """K, V [h,T] of some tokens as they meet the query; `bias` [T] is added to their scores."""

    K: Array
    V: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What finetuning adds to the keys and values of the own tokens: dK, dV [h,M]."""

    dK: Array
    dV: Array


@dataclass(frozen=True, kw_only=True)
class Head:
    """One head while the query q [h] asks.

    Scores are `scaling` q^T k, through the soft cap, plus the bias of the tokens.
    `lead`: how many of the own tokens stand before the context (BOS: 1, or 0 where a window hides
    it). `other`: of a finetuning on other examples, or why there is none.
    """

    shown: Tokens
    own: Tokens
    ft: Moved
    other: Moved | Undefined
    q: Array
    scaling: float
    softcap: float | None
    lead: int = 1


@dataclass(frozen=True, kw_only=True)
class Change:
    """An update W [h,h], and its effects on the query [h]: relaxed W q, and that of softmax."""

    W: Array
    relaxed: Array
    softmax: Array


@dataclass(frozen=True, kw_only=True)
class Rotations:
    """U, W [1+n,h,h] orthogonal: the identity, which gives what is observed, then n Haar draws."""

    U: Array
    W: Array


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike two changes are, [1+n]: first as they are, then the second one rotated.

    `cosine`: of the matrices (Frobenius). `effect_relaxed`, `effect_softmax`: of the effects on the
    query. `left_*` (outputs), `right_*` (keys): mean cosine of the principal angles between the
    leading singular subspaces, of one dimension and of min(4, rank).
    """

    cosine: Array | Undefined
    effect_relaxed: Array | Undefined
    effect_softmax: Array | Undefined
    left_leading: Array | Undefined
    right_leading: Array | Undefined
    left_subspace: Array | Undefined
    right_subspace: Array | Undefined


LIKENESS = tuple(f.name for f in fields(Likeness))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One head and query. `norm_*` are relative to |W_ZSL|; `share` is lambda, `bos` BOS's mass.

    lambda = Z_demo / (Z_demo + Z_own) of the true softmax in context, without BOS in Z_demo.
    """

    ft: Likeness
    other: Likeness
    norm_icl: Number
    norm_ft: Number
    norm_other: Number
    share: float
    bos: float


def rotations(width: int, draws: int, generator: np.random.Generator) -> Rotations:
    """The identity and `draws` independent pairs of Haar orthogonal matrices.

    They turn Delta W_FT into U Delta W_FT W^T, of the same singular values and unrelated
    directions. For the cosine c of fixed A, B that are not zero, E c = 0 and E c^2 = 1/h^2: as
    E U_ij U_kl = [i=k][j=l]/h, and the same for W independently, E <A, U B W^T> = 0 and
    E <A, U B W^T>^2 = sum_ijab (A_ij B_ab / h)^2 = |A|^2 |B|^2 / h^2. With U alone it would be
    |A B^T|^2 / h, which depends on both.

    Raises:
        UserError: for a negative number of draws.
    """
    if draws < 0:
        raise UserError(f"expected 0 rotations or more, got {draws}; pass how many the null has")
    one = np.eye(width)[None]
    U, W = (
        np.concatenate([one, _haar(width, draws, generator)]) if draws else one for _ in range(2)
    )
    return Rotations(U=U, W=W)


def _haar(width: int, draws: int, generator: np.random.Generator) -> Array:
    drawn = stats.ortho_group.rvs(width, size=draws, random_state=generator)
    return np.asarray(drawn).reshape(draws, width, width)


def zero_shot_weights(at: Head) -> Array:
    """W_ZSL = V K^T over the own tokens, scaled as the scores are: [h,h]."""
    return np.asarray(at.own.V @ (at.scaling * at.own.K).T)


def in_context_update(at: Head) -> Array:
    """Delta W_ICL = V' K'^T over the demonstrations (equation 12), scaled: [h,h]."""
    return np.asarray(at.shown.V @ (at.scaling * at.shown.K).T)


def finetuned_update(at: Head, by: Moved) -> Array:
    """Delta W_FT = dV K^T + V dK^T + dV dK^T over the own tokens (equation 13), scaled: [h,h].

    That is (V + dV)(K + dK)^T - V K^T without its cancellation.
    """
    K, V = at.own.K, at.own.V
    return np.asarray(at.scaling * (by.dV @ K.T + V @ by.dK.T + by.dV @ by.dK.T))


def scores(at: Head, tokens: Tokens) -> Array:
    """[T] as softmax sees them."""
    s = at.scaling * (at.q @ tokens.K)
    if at.softcap is not None:
        s = at.softcap * np.tanh(s / at.softcap)
    return np.asarray(s + tokens.bias)


def attention(at: Head, tokens: Tokens) -> Array:
    """Softmax attention of the query over some tokens: [h]."""
    return np.asarray(tokens.V @ special.softmax(scores(at, tokens)))


def mass(at: Head) -> tuple[float, float]:
    """Softmax mass in context on the demonstrations (lambda) and on what stands before them."""
    own, shown = scores(at, at.own), scores(at, at.shown)
    weights = special.softmax(np.concatenate([own, shown]))
    return float(weights[own.size :].sum()), float(weights[: at.lead].sum())


def in_context_change(at: Head) -> Change:
    """Delta W_ICL and e = F_ICL(q) - F_ZSL(q) = lambda (F_demo - F_ZSL), zero without a token."""
    W = in_context_update(at)
    softmax = np.zeros_like(at.q)
    if at.shown.K.shape[1]:
        softmax = mass(at)[0] * (attention(at, at.shown) - attention(at, at.own))
    return Change(W=W, relaxed=W @ at.q, softmax=softmax)


def finetuned_change(at: Head, by: Moved) -> Change:
    """Delta W_FT and the head's softmax output with finetuned keys and values, minus without."""
    W = finetuned_update(at, by)
    own = at.own
    after = Tokens(K=own.K + by.dK, V=own.V + by.dV, bias=own.bias)
    return Change(W=W, relaxed=W @ at.q, softmax=attention(at, after) - attention(at, own))


@dataclass(frozen=True, kw_only=True)
class _Directions:
    """Singular vectors as columns of `left`, `right` [h,h], of falling singular values [h]."""

    left: Array
    right: Array
    values: Array

    @property
    def room(self) -> float:
        """Singular values closer than this are not told apart (the rule of `matrix_rank`)."""
        return float(self.values[0]) * self.values.size * float(np.finfo(np.float64).eps)

    @property
    def rank(self) -> int:
        return int((self.values > self.room).sum())

    def unique(self, r: int) -> bool:
        """Whether the leading r directions span a space that is theirs alone."""
        rest = self.values[r] if r < self.values.size else 0.0
        return bool(self.values[r - 1] - rest > self.room)


def _directions(W: Array) -> _Directions:
    left, values, right = np.linalg.svd(W)
    return _Directions(left=left, right=right.T, values=values)


def _matrices(a: Array, b: Array, by: Rotations) -> Array:
    """Cosine of a and U b W^T: [1+n]."""
    one, two = (x / np.abs(x).max() for x in (a, b))
    inner = (by.U @ two @ by.W.mT).reshape(len(by.U), -1) @ one.ravel()
    return np.asarray(inner / (np.linalg.norm(one) * np.linalg.norm(two)))


def _vectors(a: Array, b: Array) -> Array | Undefined:
    """Cosines of a [h] and every row of b [1+n,h]."""
    values, defined = cosines(a, b)
    return values if bool(defined.all()) else Undefined(NO_EFFECT)


def _subspaces(a: Array, b: Array, turn: Array) -> Array:
    """Mean cosine of the principal angles between the spans of a and turn b [h,r]: [1+n].

    The cosines that `scipy.linalg.subspace_angles` takes, for many rotations at once.
    """
    found = np.linalg.svd(a.T @ turn @ b, compute_uv=False)
    return np.asarray(np.minimum(found, 1.0).mean(-1))


def likeness(icl: Change, ft: Change, q: Array, by: Rotations) -> Likeness:
    """How alike two changes are, as they are and with that of finetuning rotated.

    A rotation (U, W) turns an update B to U B W^T, its relaxed effect to U B W^T q, and its softmax
    effect e, which is no matrix times q, to U e.
    """
    absent = None
    if not icl.W.any():
        absent = Undefined(UNSEEN)
    elif not ft.W.any():
        absent = Undefined(UNMOVED)
    if absent is not None:
        return Likeness(**dict.fromkeys(LIKENESS, absent))
    relaxed = np.einsum("nij,nj->ni", by.U, (by.W.mT @ q) @ ft.W.T)
    a, b = _directions(icl.W), _directions(ft.W)
    r = min(SUBSPACE, a.rank, b.rank)
    return Likeness(
        cosine=_matrices(icl.W, ft.W, by),
        effect_relaxed=_vectors(icl.relaxed, relaxed),
        effect_softmax=_vectors(icl.softmax, ft.softmax @ by.U.mT),
        left_leading=_spans(a, b, a.left, b.left, by.U, 1),
        right_leading=_spans(a, b, a.right, b.right, by.W, 1),
        left_subspace=_spans(a, b, a.left, b.left, by.U, r),
        right_subspace=_spans(a, b, a.right, b.right, by.W, r),
    )


def _spans(
    a: _Directions, b: _Directions, one: Array, two: Array, turn: Array, r: int
) -> Array | Undefined:
    """`_subspaces` of the leading r columns, where these are unique."""
    if not (a.unique(r) and b.unique(r)):
        return Undefined(TIE)
    return _subspaces(one[:, :r], two[:, :r], turn)


def measured(at: Head, by: Rotations) -> Measured:
    """Everything about one head and query; of the other finetuning the observed values alone."""
    icl, ft = in_context_change(at), finetuned_change(at, at.ft)
    zsl = zero_shot_weights(at)
    other, norm_other = _of_other(at, icl, zsl, Rotations(U=by.U[:1], W=by.W[:1]))
    share, bos = mass(at)
    return Measured(
        ft=likeness(icl, ft, at.q, by),
        other=other,
        norm_icl=_relative(icl.W, zsl),
        norm_ft=_relative(ft.W, zsl),
        norm_other=norm_other,
        share=share,
        bos=bos,
    )


def _of_other(at: Head, icl: Change, zsl: Array, as_it_is: Rotations) -> tuple[Likeness, Number]:
    """Likeness and relative norm of the finetuning on other examples."""
    if isinstance(at.other, Undefined):
        return Likeness(**dict.fromkeys(LIKENESS, at.other)), at.other
    change = finetuned_change(at, at.other)
    return likeness(icl, change, at.q, as_it_is), _relative(change.W, zsl)


def _relative(W: Array, zsl: Array) -> Number:
    """|W| / |W_ZSL|; a W of zeros has the norm 0."""
    size = float(np.linalg.norm(zsl))
    return Undefined(NO_WEIGHTS) if size == 0 else float(np.linalg.norm(W)) / size
