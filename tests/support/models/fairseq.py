"""Small files as fairseq writes them, and its decoder computed from its definition, slowly."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dualform import elementary
from dualform.rounding import UNIT_ROUNDOFF, Tracked, rounded
from empirical.models.loading import LoadedModel
from tests.support.models.tiny_models import tokenizer

D, F, LAYERS, HEADS, POSITIONS, FILLERS = 8, 16, 2, 2, 64, 3
END_OF_TEXT = "<|endoftext|>"
U = UNIT_ROUNDOFF[torch.float64]


@cache
def bpe_tokens() -> dict[str, int]:
    """The tokens of a small byte-level BPE, GPT-2's last one behind them."""
    tokens: dict[str, int] = dict(tokenizer().get_vocab())
    return tokens | {END_OF_TEXT: len(tokens)}


def save_bpe(folder: Path, vocab: str = "vocab.json", merges: str = "merges.txt") -> Path:
    """The BPE as two files."""
    folder.mkdir()
    tokenizer().save_model(str(folder))
    (folder / "merges.txt").rename(folder / merges)
    (folder / "vocab.json").unlink()
    (folder / vocab).write_text(json.dumps(bpe_tokens()))
    return folder


@cache
def symbols() -> tuple[str, ...]:
    """A dictionary as fairseq orders it: its own symbols, ids by frequency, fillers."""
    n = len(bpe_tokens())
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(5)).tolist()
    fillers = [f"madeupword{i:04}" for i in range(FILLERS)]
    return ("<s>", "<pad>", "</s>", "<unk>", *map(str, shuffled), *fillers)


def save_dictionary(path: Path, listed: tuple[str, ...] | None = None) -> Path:
    """dict.txt: what follows the four special symbols."""
    lines = [f"{s} {9999 - i}" for i, s in enumerate((listed or symbols())[4:])]
    path.write_text("\n".join(lines) + "\n")
    return path


def tensors(dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """A state dict with the names and shapes of fairseq's transformer_lm, weights far from zero."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int, about: float = 0.0, width: float = 0.2) -> Tensor:
        return (about + width * torch.randn(*shape, generator=generator)).to(dtype)

    state = {"decoder.version": torch.tensor([3.0])}
    state["decoder.embed_tokens.weight"] = drawn(len(symbols()), D, width=1.0)
    state["decoder.embed_positions._float_tensor"] = torch.zeros(1)
    for i in range(LAYERS):
        here = f"decoder.layers.{i}"
        for p in ("k_proj", "v_proj", "q_proj", "out_proj"):
            state[f"{here}.self_attn.{p}.weight"] = drawn(D, D)
            state[f"{here}.self_attn.{p}.bias"] = drawn(D)
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            state[f"{here}.{norm}.weight"] = drawn(D, about=1.0)
            state[f"{here}.{norm}.bias"] = drawn(D)
        state |= {f"{here}.fc1.weight": drawn(F, D), f"{here}.fc1.bias": drawn(F)}
        state |= {f"{here}.fc2.weight": drawn(D, F), f"{here}.fc2.bias": drawn(D)}
    state["decoder.layer_norm.weight"] = drawn(D, about=1.0)
    state["decoder.layer_norm.bias"] = drawn(D)
    state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    return state


def settings(**changed: Any) -> dict[str, Any]:
    """`cfg` of a checkpoint, with the keys that matter here."""
    model = {
        "_name": "transformer_lm_gpt", "activation_fn": "gelu", "decoder_layers": LAYERS,
        "decoder_embed_dim": D, "decoder_ffn_embed_dim": F, "decoder_attention_heads": HEADS,
        "decoder_learned_pos": False, "no_scale_embedding": False, "dropout": 0.1,
        "share_decoder_input_output_embed": True, "max_target_positions": None,
    }  # fmt: skip
    task = {"_name": "language_modeling", "tokens_per_sample": POSITIONS, "add_bos_token": False}
    return {"model": model | changed, "task": task}


def logits(model: LoadedModel, ids: list[int]) -> Tensor:
    """[T,V] as transformers computes them, in the dtype of the weights.

    transformers' XGLM builds its mask in torch's default dtype, which overflows beside float64.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(next(model.model.parameters()).dtype)
    try:
        with torch.no_grad():
            out: Tensor = model.model(torch.tensor([ids])).logits[0]
    finally:
        torch.set_default_dtype(before)
    return out


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The decoder as it is defined, or one plausible mistake."""

    first_position: int = 2
    heads: int = HEADS
    query: str = "q_proj"
    key: str = "k_proj"
    scaled: bool = True
    tanh: bool = False
    final_norm: bool = True


def sinusoids(first: int, length: int, d: int) -> Tensor:
    """Rows `first`, `first` + 1, ... of [sin | cos] of p / 10000^(j/(d/2 - 1)), in float32."""
    step = math.log(10000) / (d // 2 - 1)
    rates = torch.exp(torch.arange(d // 2, dtype=torch.float32) * -step)
    angles = torch.arange(first, first + length, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def reference(
    state: Mapping[str, Tensor], ids: list[int], variant: Variant | None = None
) -> Tracked:
    """Logits [T,V] of fairseq's ids, each with a bound on its rounding, head by head, row by row.

    Weights and the float32 table of sinusoids are data; everything else is float64.
    """
    v = variant or Variant()

    def weight(name: str) -> Tracked:
        return Tracked(torch.atleast_2d(state[f"decoder.{name}"].double()))

    def linear(x: Tracked, name: str) -> Tracked:
        return x @ weight(f"{name}.weight").T + _each(weight(f"{name}.bias"), x)

    def norm(x: Tracked, name: str) -> Tracked:
        return _norm(x).times(weight(f"{name}.weight")) + _each(weight(f"{name}.bias"), x)

    E = weight("embed_tokens.weight")
    scale = _root(D) if v.scaled else Tracked(torch.ones(1, 1, dtype=torch.float64))
    x = Tracked(E.value[ids]).times(scale)
    x = x + Tracked(sinusoids(v.first_position, len(ids), D).double())
    for i in range(LAYERS):
        here = f"layers.{i}"
        z = norm(x, f"{here}.self_attn_layer_norm")
        q, k, values = (linear(z, f"{here}.self_attn.{p}") for p in (v.query, v.key, "v_proj"))
        x = x + linear(_attention(q, k, values, v.heads), f"{here}.self_attn.out_proj")
        z = linear(norm(x, f"{here}.final_layer_norm"), f"{here}.fc1")
        x = x + linear(_gelu(z, v.tanh), f"{here}.fc2")
    return (norm(x, "layer_norm") if v.final_norm else x) @ E.T


def _each(row: Tracked, x: Tracked) -> Tracked:
    """A row [1,m] under every row of x."""
    return Tracked(row.value.expand(len(x.value), -1), row.error.expand(len(x.value), -1))


def _part(x: Tracked, rows: slice, columns: slice) -> Tracked:
    return Tracked(x.value[rows, columns], x.error[rows, columns])


def _root(x: int) -> Tracked:
    """The square root of a number, correctly rounded."""
    value = torch.tensor([[math.sqrt(x)]], dtype=torch.float64)
    return Tracked(value, U * value)


def _attention(q: Tracked, k: Tracked, v: Tracked, heads: int) -> Tracked:
    """Softmax attention of each row to itself and those before it, heads side by side."""
    h, one = D // heads, Tracked(torch.ones(1, 1, dtype=torch.float64))
    whole = Tracked(torch.zeros_like(q.value))
    for head in range(heads):
        own = slice(head * h, (head + 1) * h)
        for t in range(len(q.value)):
            row, seen = slice(t, t + 1), slice(0, t + 1)
            query = _part(q, row, own).times(elementary.over(one, _root(h)))
            scores = query @ _part(k, seen, own).T
            top = Tracked(scores.value.max().expand_as(scores.value))  # any shift is exact
            mass = elementary.exp(scores - top)
            total = mass @ Tracked(torch.ones(t + 1, 1, dtype=torch.float64))
            out = elementary.over(mass, total) @ _part(v, seen, own)
            whole.value[row, own], whole.error[row, own] = out.value, out.error
    return whole


def _norm(x: Tracked) -> Tracked:
    """(x - mean) / sqrt(variance + 1e-5) row by row, the variance divided by d."""
    ones = Tracked(torch.full((D, 1), 1.0, dtype=torch.float64))
    count = Tracked(torch.full((1, 1), float(D), dtype=torch.float64))
    centred = x - _wide(elementary.over(x @ ones, count))
    variance = elementary.over(centred.times(centred) @ ones, count)
    epsilon = torch.full_like(variance.value, 1e-5)
    inside = variance + Tracked(epsilon, U * epsilon)
    root = inside.value.sqrt()
    # |sqrt a - sqrt b| <= |a - b| / sqrt a for positive a, b
    return elementary.over(centred, rounded(root, inside.error / root))


def _wide(column: Tracked) -> Tracked:
    return Tracked(column.value.expand(-1, D), column.error.expand(-1, D))


def _gelu(x: Tracked, tanh: bool) -> Tracked:
    """x P(N(0,1) <= x), whose slope is at most 1.13; erf errs by a few units of 1."""
    inner = math.sqrt(2 / math.pi) * (x.value + 0.044715 * x.value**3)
    curve = torch.tanh(inner) if tanh else torch.erf(x.value / math.sqrt(2))
    return Tracked(x.value * (1 + curve) / 2, 1.13 * x.error + 8 * U * (x.value.abs() + U))
