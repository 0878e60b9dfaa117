"""Captured scores are those the library's own attention weights come from; hooks never stay."""

import pytest
import torch

from empirical.inference.recorder import capture
from empirical.inference.settings import in_context, zero_shot
from empirical.models.loading import LoadedModel, default_dtype_of
from tests.support.models.tiny_models import LABELS, WORDS, context, queries, tiny


def hooks(model: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())


def test_no_hook_remains_after_use_or_after_an_error() -> None:
    model = tiny()
    before = hooks(model)
    zero_shot(model, queries(2), LABELS, WORDS)
    assert hooks(model) == before
    with pytest.raises(RuntimeError, match="stop"), capture(model.blocks):
        assert hooks(model) > before
        raise RuntimeError("stop")
    assert hooks(model) == before


@pytest.mark.parametrize("shots", [0, 3])
def test_softmax_of_scores_reproduces_the_library_attention(shots: int) -> None:
    """Bound: renormalised exp over n terms, each score a dot product of d_h terms.

    A score error of (d_h + 2) u Σ|q||k| enters exp relatively; both runs have it, plus n + 4
    roundings of the sum and quotient; Σ|q||k| is bounded by d_h max|q| max|k| as captured.
    The inputs of the two runs differ by rounding too, so the first layer alone is compared.
    """
    model, qs = tiny(), queries(4)
    model.model.set_attn_implementation("eager")
    lead = context(model, queries(shots, seed=1)) if shots else (model.encoder.bos,)
    if shots:
        out = in_context(model, qs, LABELS, WORDS, lead)
    else:
        out = zero_shot(model, qs, LABELS, WORDS)
    for i, q in enumerate(qs):
        ids = torch.tensor([[*lead, *q.prompt, *LABELS[0]]])
        seen: list[torch.Tensor] = []
        attention = model.model.model.layers[0].self_attn
        handles = [p.register_forward_hook(lambda _m, _i, o, seen=seen: seen.append(o))
                   for p in (attention.q_proj, attention.k_proj)]  # fmt: skip
        with torch.no_grad(), default_dtype_of(model):
            full = model.model(input_ids=ids, output_attentions=True).attentions[0][0, :, -1]
        for handle in handles:
            handle.remove()
        n_own, d_h = len(q.prompt) + 1, 8
        mine = torch.softmax(torch.from_numpy(out.m[i][0]), -1)
        theirs = full[:, -n_own:] / full[:, -n_own:].sum(-1, keepdim=True)
        u = torch.finfo(torch.float64).eps / 2
        magnitude = d_h * float(seen[0].abs().max() * seen[1].abs().max())
        # the projections themselves are reductions of 16 terms and a bias
        width = 2 * (d_h + 2 + 2 * 18) * u * magnitude * 16 + 2 * (ids.shape[1] + 4) * u
        gap = (mine / theirs - 1).abs()
        assert bool(torch.isfinite(gap).all()) and float(gap.max()) <= width
        shifted = (mine.roll(1, -1) / theirs - 1).abs()  # near miss
        assert float(shifted.max()) > width
