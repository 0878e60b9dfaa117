"""One pass of a decoder over padded rows, behind a context that was read once or alone.

Rows are padded on the right: under the causal mask no real token sees the padding, and positions
count on from the context. Letters: B rows, T tokens, C context tokens, d model width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from empirical.inference.attention import Prefix, Run, attending
from empirical.inference.recorder import ROUND, Keep
from empirical.models.architectures import backbone, logits
from empirical.models.decoder import LoadedModel, default_dtype_of

OUTPUT_ROWS = 256  # rows of the output layer at a time


def padded_length(tokens: int) -> int:
    """The length to which a row of `tokens` is padded, which depends on nothing else."""
    return -(-tokens // ROUND) * ROUND


def without_cache(model: LoadedModel) -> dict[str, Any]:
    """The argument that keeps a pass from filling a cache, where the class takes one."""
    takes = inspect.signature(backbone(model.model).forward).parameters
    return {"use_cache": False} if "use_cache" in takes else {}


def takes_positions(model: LoadedModel) -> bool:
    """Whether the model can be told where its tokens are; with ALiBi it sees distances alone."""
    told = "position_ids" in inspect.signature(backbone(model.model).forward).parameters
    return told and all(block.position_bias is None for block in model.blocks)


def states(model: LoadedModel, run: Run, rows: Sequence[Sequence[int]], length: int) -> Tensor:
    """Final states [B,T,d] of `rows` padded to T = `length`."""
    # Any token serves as padding: nothing real attends to it.
    padded = [[*row, *[row[-1]] * (length - len(row))] for row in rows]
    ids = torch.tensor(padded, device=model.device)
    body = backbone(model.model)
    more: dict[str, Any] = without_cache(model)
    if "position_ids" in inspect.signature(body.forward).parameters:
        # Padding may reach beyond the last position that the model knows; no token sees it.
        last = model.max_length - 1
        positions = torch.arange(run.start, run.start + length, device=model.device).clamp(max=last)
        more["position_ids"] = positions.expand(len(rows), -1)
    with default_dtype_of(model), attending(model.model, run):
        found: Tensor = body(input_ids=ids, **more)[0]
    return found


def read_context(model: LoadedModel, context: Sequence[int]) -> Prefix:
    """Keys and values of every layer over `context`, computed once."""
    blocks = model.blocks
    kept = Keep(groups=[b.groups for b in blocks])
    with torch.no_grad():
        states(model, Run(blocks, watch=kept), [context], len(context))
    return Prefix(keys=tuple(kept.keys), values=tuple(kept.values))


def log_probabilities(model: LoadedModel, last: Tensor) -> Tensor:
    """Full-vocabulary log-softmax in float32 (or wider) of final states [N,d].

    The rows of a product can depend on how many there are: one row is padded to several.
    """
    n = len(last)
    padding = padded_length(n) - n
    out = logits(model.model, torch.cat([last, last[-1:].expand(padding, -1)]))[:n]
    return torch.log_softmax(out.to(torch.promote_types(out.dtype, torch.float32)), -1)


def token_log_probabilities(model: LoadedModel, last: Tensor, tokens: Tensor) -> Tensor:
    """log p of `tokens` [N] after states [N,d]: [N], a bounded number of rows at a time."""
    found = []
    for i in range(0, len(last), OUTPUT_ROWS):
        table = log_probabilities(model, last[i : i + OUTPUT_ROWS])
        found.append(table.gather(1, tokens[i : i + OUTPUT_ROWS, None])[:, 0])
    return torch.cat(found)
