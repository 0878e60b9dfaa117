"""Layer inputs: what the key projection saw, and that nothing stays behind."""

import torch

from empirical.inference.attention import Run
from empirical.inference.forward import states
from empirical.inference.layer_inputs import last_inputs, logging_inputs
from empirical.models.architectures import backbone
from tests.support.models.tiny_models import queries, tiny


def test_they_are_what_leaves_the_norm_before_attention() -> None:
    model = tiny()
    row = (model.encoder.bos, *queries(1)[0].prompt)
    left: list[torch.Tensor] = []
    entered: list[torch.Tensor] = []
    handles = []
    for layer in backbone(model.model).layers:
        norm = layer.self_attn_layer_norm
        handles.append(norm.register_forward_hook(lambda _m, _i, out: left.append(out)))
        handles.append(norm.register_forward_pre_hook(lambda _m, args: entered.append(args[0])))
    found = last_inputs(model, [row])
    for handle in handles:
        handle.remove()
    assert found.shape == (1, model.n_layers, model.width)
    for layer in range(model.n_layers):
        assert torch.equal(found[0, layer], left[layer][0, -1])
        assert not torch.equal(found[0, layer], entered[layer][0, -1])  # the residual stream
        assert not torch.equal(found[0, layer], left[layer][0, 0])  # another token


def test_a_log_leaves_out_the_first_token_and_no_hook() -> None:
    model = tiny()
    rows = [(model.encoder.bos, *q.prompt) for q in queries(2)]
    with torch.no_grad(), logging_inputs(model.blocks) as log:
        for row in rows:
            states(model, Run(model.blocks), [row], len(row))
    assert log.stacked().shape == (model.n_layers, sum(len(r) - 1 for r in rows), model.width)
    assert all(not b.key.module._forward_pre_hooks for b in model.blocks)
    assert torch.equal(log.seen[0][1][1], log.stacked()[1, 0])
