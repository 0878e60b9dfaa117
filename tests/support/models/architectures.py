"""Tiny random decoders of every supported architecture, and what passes through their blocks.

What a variant's scores have beside q k is written here once more, by hand, and read off no adapter.
"""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from empirical.inference.attention import Prefix, Run, attending
from empirical.models.architectures import Block, backbone, blocks_of

LAYERS = 2
CONTEXT, OWN = 12, 6  # tokens that rows share, and of their own
WINDOW = 7  # under the context, and one more than a row's own tokens
FFN = 64
EVERYWHERE = dict(vocab_size=97, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA = dict(
    hidden_size=32, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64,
)  # fmt: skip
GPT2 = dict(n_embd=32, n_layer=LAYERS, n_head=4, n_positions=64)
PLAIN = dict(hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=4)
f32, f64 = torch.float32, torch.float64
QUOTIENT = (1 / 8**0.5,) * LAYERS  # the last bit of 8 ** -0.5 is another


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One configuration: its class, its settings, and by hand what its attention does.

    `scale`, `windows`: by layer. `slopes`: of ALiBi, by head, before the division by sqrt(h) that
    `slopes_scaled` says. `core`: the dtype in which the class forms scores and softmax when its
    weights are float64; `whole`: the narrowest dtype in it anywhere (norms).
    """

    kind: str
    settings: dict[str, Any]
    heads: int = 4
    groups: int = 4
    width: int = 8
    scale: tuple[float, ...] = ()
    windows: tuple[int | None, ...] = (None, None)
    cap: float | None = None
    slopes: tuple[float, ...] | None = None
    slopes_scaled: bool = False
    rotary: bool = False
    norm: str | None = None  # the attribute of keys' norm; that of queries has q for k
    by: str = "head"  # what the norm sees: "head" [B,T,G,h], "first" [B,G,T,h], "all" [B,T,G h]
    biased: bool = True
    core: torch.dtype = f64
    whole: torch.dtype = f64

    @property
    def scales(self) -> tuple[float, ...]:
        """What scores are multiplied by, by layer."""
        return self.scale or (self.width**-0.5,) * LAYERS


def alibi(heads: int) -> tuple[float, ...]:
    """Slopes of Press et al. 2108.12409: 2^(-8i/n), and every other one of 2n heads beyond n."""
    n = 2 ** (heads.bit_length() - 1)
    first = [2.0 ** (-8 * i / n) for i in range(1, n + 1)]
    return tuple(first + [2.0 ** (-4 * i / n) for i in range(1, 2 * (heads - n), 2)])


def to_bfloat16(x: float) -> float:
    """To bfloat16, in which Falcon's slopes are."""
    return float(torch.tensor(x, dtype=torch.bfloat16))


GROUPED: dict[str, Any] = dict(groups=2, rotary=True)
# RMSNorm computes in float32 whatever the weights are; so does the softmax of four classes.
RMS: dict[str, Any] = GROUPED | dict(whole=f32)
WIDE: dict[str, Any] = RMS | dict(width=16)  # 4 heads of 16 are not the 32 of the model
NARROW: dict[str, Any] = dict(core=f32, whole=f32)
FIRST, SECOND, BOTH = (WINDOW, None), (None, WINDOW), (WINDOW, WINDOW)
VARIANTS = {
    "xglm": Variant(kind="xglm", settings=dict(
        d_model=32, ffn_dim=FFN, num_layers=LAYERS, attention_heads=4, max_position_embeddings=64)),
    "gpt2": Variant(kind="gpt2", settings=GPT2),
    "gpt2-by-layer": Variant(
        kind="gpt2", settings=GPT2 | dict(scale_attn_by_inverse_layer_idx=True),
        scale=(8**-0.5, 8**-0.5 / 2)),
    "openai-gpt": Variant(kind="openai-gpt", settings=GPT2),
    "gpt_neo": Variant(
        kind="gpt_neo", settings=dict(
            hidden_size=32, num_layers=LAYERS, attention_types=[[["global", "local"], 1]],
            num_heads=4, window_size=WINDOW, max_position_embeddings=64),
        scale=(1.0, 1.0), windows=SECOND, biased=False, **NARROW),
    "gptj": Variant(
        kind="gptj", settings=GPT2 | dict(rotary_dim=4), rotary=True, biased=False, **NARROW),
    "gpt_neox": Variant(
        kind="gpt_neox", rotary=True, settings=PLAIN | dict(
            intermediate_size=FFN, max_position_embeddings=64, rope_parameters=dict(
                rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5))),
    "opt": Variant(kind="opt", settings=PLAIN | dict(
        ffn_dim=FFN, word_embed_proj_dim=32, max_position_embeddings=64)),
    "opt-350m": Variant(kind="opt", settings=PLAIN | dict(
        ffn_dim=FFN, word_embed_proj_dim=16, do_layer_norm_before=False,
        max_position_embeddings=64)),
    "bloom": Variant(
        kind="bloom", settings=dict(hidden_size=48, n_layer=LAYERS, n_head=6), heads=6, groups=6,
        scale=QUOTIENT, slopes=alibi(6), **NARROW),
    "falcon": Variant(
        kind="falcon", settings=PLAIN | dict(bias=True, ffn_hidden_size=FFN), groups=1,
        scale=QUOTIENT, rotary=True),
    "falcon-alibi": Variant(
        kind="falcon", settings=dict(
            hidden_size=128, num_hidden_layers=LAYERS, num_attention_heads=16, alibi=True,
            multi_query=False, bias=True, ffn_hidden_size=FFN),
        heads=16, groups=16, scale=QUOTIENT, slopes=tuple(map(to_bfloat16, alibi(16))),
        slopes_scaled=True),
    "falcon-groups": Variant(
        kind="falcon", settings=PLAIN | dict(
            num_kv_heads=2, new_decoder_architecture=True, bias=True, ffn_hidden_size=FFN),
        scale=QUOTIENT, **GROUPED),
    "llama": Variant(kind="llama", settings=LLAMA | dict(head_dim=16, attention_bias=True), **WIDE),
    "mistral": Variant(
        kind="mistral", settings=LLAMA | dict(sliding_window=WINDOW, head_dim=16), windows=BOTH,
        biased=False, **WIDE),
    "qwen2": Variant(kind="qwen2", settings=LLAMA, **RMS),
    "qwen2-window": Variant(
        kind="qwen2", windows=SECOND, settings=LLAMA | dict(
            use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1), **RMS),
    "qwen3": Variant(
        kind="qwen3", settings=LLAMA | dict(head_dim=16, attention_bias=True), norm="k_norm",
        **WIDE),
    "qwen3-window": Variant(
        kind="qwen3", windows=SECOND, settings=LLAMA | dict(
            head_dim=16, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
        norm="k_norm", biased=False, **WIDE),
    "gemma2": Variant(
        kind="gemma2", settings=LLAMA | dict(
            head_dim=16, sliding_window=WINDOW, query_pre_attn_scalar=10, attention_bias=True,
            attn_logit_softcapping=2.0),
        scale=(10**-0.5,) * 2, windows=FIRST, cap=2.0, **WIDE | NARROW),
    # transformers' Gemma 3 reads a soft cap from the configuration and applies none.
    "gemma3_text": Variant(
        kind="gemma3_text", settings=LLAMA | dict(
            head_dim=16, sliding_window=WINDOW, query_pre_attn_scalar=10, attention_bias=True,
            attn_logit_softcapping=2.0, layer_types=["sliding_attention", "full_attention"]),
        scale=(10**-0.5,) * 2, windows=FIRST, norm="k_norm", by="first", **WIDE),
    "phi": Variant(kind="phi", settings=LLAMA, **GROUPED),
    "phi-norms": Variant(
        kind="phi", settings=LLAMA | dict(qk_layernorm=True), norm="k_layernorm", **GROUPED),
    "olmo2": Variant(
        kind="olmo2", settings=LLAMA | dict(attention_bias=True), norm="k_norm", by="all", **RMS),
    "stablelm": Variant(kind="stablelm", settings=LLAMA, biased=False, **GROUPED),
    "stablelm-norms": Variant(
        kind="stablelm", settings=LLAMA | dict(qk_layernorm=True, use_qkv_bias=True),
        norm="k_layernorm", by="first", **GROUPED),
    "starcoder2": Variant(
        kind="starcoder2", settings=LLAMA | dict(sliding_window=WINDOW), windows=BOTH, **GROUPED),
}  # fmt: skip


@cache
def tiny(name: str, dtype: torch.dtype) -> Any:
    """The model of a variant in `dtype`; the weights of all dtypes are the same float32 numbers."""
    if dtype != f32:
        return copy.deepcopy(tiny(name, f32)).to(dtype)
    variant = VARIANTS[name]
    config = AutoConfig.for_model(variant.kind, **EVERYWHERE, **variant.settings)
    return randomised(config)


def randomised(config: Any) -> Any:
    """A float32 decoder whose scores vary by more than one; no gain is one and no bias zero."""
    with torch.random.fork_rng(devices=[]):  # drawn over below
        model = AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(1)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    with torch.no_grad():
        for p in model.parameters():
            drawn = torch.randn(p.shape, generator=generator)
            if p.dim() == 1:
                p.add_(0.3 * drawn)
            else:
                p.copy_(drawn if id(p) in embeddings else 1.2 * config.hidden_size**-0.5 * drawn)
    return model


def rows(n: int, length: int, shared: int, seed: int = 0) -> Tensor:
    """Token ids [n, length] that begin with the same `shared` tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, EVERYWHERE["vocab_size"], (n, length), generator=generator)
    ids[:, :shared] = ids[:1, :shared]
    return ids


@contextmanager
def plainly(model: Any) -> Iterator[None]:
    """No gradients, and torch's default dtype the weights' own (XGLM's mask limit needs that)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(next(model.parameters()).dtype)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def takes_positions(model: Any) -> bool:
    """Whether the model can be told where its tokens are (BLOOM cannot)."""
    return "position_ids" in inspect.signature(backbone(model).forward).parameters


def final(model: Any, ids: Tensor, start: int = 0, **more: Any) -> Tensor:
    """Final states [B,T,d], of positions start, start + 1, ... where the model can be told."""
    if takes_positions(model) and "position_ids" not in more:
        more["position_ids"] = torch.arange(start, start + ids.shape[1]).expand(ids.shape)
    states: Tensor = backbone(model)(input_ids=ids, use_cache=False, **more).last_hidden_state
    return states


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """What one block was given and gave: heads [B,T,H,h] before the output projection, h [B,T,d].

    `entered`: [B,T,d] to the projections; `q`, `k`, `v`: what a `Run` saw, where there was one.
    """

    entered: Tensor
    heads: Tensor
    h: Tensor
    q: Tensor = field(default_factory=lambda: torch.empty(0))
    k: Tensor = field(default_factory=lambda: torch.empty(0))
    v: Tensor = field(default_factory=lambda: torch.empty(0))


class Keeps:
    """A watch that keeps what it saw, by layer."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def saw(self, layer: int, q: Tensor, k: Tensor, v: Tensor, context: Tensor | None) -> None:
        """As `empirical.inference.attention.Watch`."""
        self.seen[layer] = (q, k, v)


@contextmanager
def _hooked(
    blocks: Sequence[Block], forced: Sequence[Layer] | None
) -> Iterator[dict[int, dict[str, Tensor]]]:
    """Keeps `entered`, `heads` and `h` of every layer; with `forced`, h goes on as it was there."""
    kept: dict[int, dict[str, Tensor]] = {i: {} for i in range(len(blocks))}
    handles = []
    for i, block in enumerate(blocks):

        def entered(_m: Any, given: Any, i: int = i) -> None:
            kept[i]["entered"] = given[0]

        def heads(_m: Any, given: Any, i: int = i, heads: int = block.heads) -> None:
            kept[i]["heads"] = given[0].unflatten(-1, (heads, -1))

        def h(_m: Any, _given: Any, out: Tensor, i: int = i) -> Tensor | None:
            kept[i]["h"] = out
            return None if forced is None else forced[i].h

        handles.append(block.query.module.register_forward_pre_hook(entered))
        handles.append(block.output.register_forward_pre_hook(heads))
        handles.append(block.output.register_forward_hook(h))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def native(model: Any, ids: Tensor) -> list[Layer]:
    """Every block of the model as transformers runs it."""
    with plainly(model), _hooked(blocks_of(model), None) as kept:
        final(model, ids)
    return [Layer(**kept[i]) for i in range(LAYERS)]


def watched(
    model: Any,
    ids: Tensor,
    start: int = 0,
    prefix: Prefix | None = None,
    forced: Sequence[Layer] | None = None,
    **more: Any,
) -> list[Layer]:
    """Every block in a `Run`; with `forced`, each is given what it was given there, bit for bit."""
    blocks, watch = blocks_of(model), Keeps()
    with plainly(model), _hooked(blocks, forced) as kept:
        with attending(model, Run(blocks, prefix, watch)):
            final(model, ids, start, **more)
    return [Layer(**kept[i], **dict(zip("qkv", watch.seen[i], strict=True))) for i in range(LAYERS)]


def prefix_of(model: Any, tokens: Tensor) -> Prefix:
    """Keys and values of a context [C], one copy for each group."""
    seen = watched(model, tokens[None])
    groups = [block.groups for block in blocks_of(model)]
    return Prefix(
        keys=tuple(x.k[0, :: x.k.shape[1] // g] for x, g in zip(seen, groups, strict=True)),
        values=tuple(x.v[0, :: x.v.shape[1] // g] for x, g in zip(seen, groups, strict=True)),
    )
