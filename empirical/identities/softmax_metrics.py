"""lambda, and how far softmax attention is from the relaxed attention: metrics, no checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from empirical.core.undefined import Undefined
from empirical.identities.capture_layers import each_layer
from empirical.identities.layer_capture import LayerCapture
from empirical.identities.softmax_mixture import layer_scores
from empirical.models.decoder import LoadedModel
from empirical.results.layer_check import SoftmaxShare


def softmax_shares(
    model: LoadedModel, context_ids: Sequence[int], query_ids: Sequence[int]
) -> list[SoftmaxShare]:
    """lambda and the size of the softmax relaxation per layer and head, from float64 copies.

    Raises:
        UserError: as `capture_layers`.
    """
    found = each_layer(model, context_ids, query_ids, dtype=torch.float64)
    return [share for layer, at in enumerate(found) for share in shares_of(at, layer)]


def shares_of(at: LayerCapture, layer: int) -> list[SoftmaxShare]:
    """The metrics of every head of one captured layer, computed in float64."""
    return list(_shares(at, layer))


def _shares(at: LayerCapture, layer: int) -> Iterator[SoftmaxShare]:
    s, plain, v = (x.double() for x in layer_scores(at))
    n = at.shown.stop - at.shown.start
    weights = torch.softmax(s, -1)
    exact = (v @ weights.mT)[..., 0]
    relaxed = (v @ (plain * (1 / at.scaling)).mT)[..., 0]
    for head in range(exact.shape[0]):
        yield _share(layer, head, float(weights[head, 0, :n].sum()), exact[head], relaxed[head])


def _share(layer: int, head: int, mass: float, f: Tensor, r: Tensor) -> SoftmaxShare:
    size, other = float(f.norm()), float(r.norm())
    zero = Undefined("the attention output is zero")
    return SoftmaxShare(
        layer=layer,
        head=head,
        demonstrations=mass,
        relaxation=zero if size == 0 else float((r - f).norm()) / size,
        cosine=zero if size * other == 0 else float(f @ r) / size / other,
    )
