"""Functions of other packages, the rule each claims, and the conventions it documents or shows.

`plain` is what it takes to call a function at all: axes, names and sizes. `convention` is what it
means by its arguments where that is not this project's meaning.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dualform.testing.conventions import Axes
from empirical.verification.conformance import adapters as adapt

FLA, TRANSFORMERS = "fla-core", "transformers"


def _as_it_is(f: Callable[..., Any]) -> Callable[..., Any]:
    return f


@dataclass(frozen=True, kw_only=True)
class Case:
    """One function: `package` (a distribution), `function` (a dotted path), the rule's name.

    `expected` is a known departure, in words, of a function that computes something else on
    purpose: an approximation is no violation of a claim.
    """

    package: str
    function: str
    rule: str
    adapter: Callable[..., Any] = _as_it_is
    plain: Mapping[str, Any] = field(default_factory=dict)
    axes: Axes = "time head"
    convention: Mapping[str, Any] = field(default_factory=dict)
    expected: str = ""
    note: str = ""


SINGLE: dict[str, Any] = {"dtypes": (torch.float32,)}
STATE = {"constants": {"output_final_state": True}}
FLOAT: dict[str, Any] = {"dtypes": (torch.float32, torch.bfloat16), "accumulate": "float32"}
TURNED: dict[str, Any] = {"query_scale": "inverse sqrt", "state": "key value"}
LOG: dict[str, Any] = {**TURNED, "gates": {"decay": "log"}}
GATED = {**FLOAT, **STATE, "names": {"decay": "g"}}
START = {"state": "initial_state"}
PAIR: dict[str, Any] = {"multiple": 2, "chunks": (2,), "longest": 8}


def _fla(function: str, rule: str, plain: Mapping[str, Any], **more: Any) -> Case:
    more.setdefault("convention", TURNED)
    return Case(package=FLA, function=f"fla.ops.{function}", rule=rule, plain=plain, **more)


def _transformers(model: str, function: str, rule: str, note: str = "", **more: Any) -> Case:
    return Case(
        package=TRANSFORMERS,
        function=f"transformers.models.{model}.modeling_{model}.{function}",
        rule=rule,
        adapter=inspect.unwrap,
        plain={**GATED, **more},
        convention=LOG,
        note=note,
    )


SAME = "its torch path, whose text other model files of the package repeat"
NORMALISED = {**FLOAT, "positive": True, "constants": {"normalize": True}}
CASES: tuple[Case, ...] = (
    _fla("linear_attn.naive.naive_recurrent_linear_attn", "linear_attention", {**FLOAT, **STATE}),
    _fla(
        "linear_attn.naive.naive_recurrent_linear_attn",
        "linear_attention",
        NORMALISED,
        adapter=adapt.output_alone,
        convention={**TURNED, "normaliser": 1e-10},
        note="with normalize=True",
    ),
    _fla(
        "linear_attn.naive.naive_chunk_linear_attn",
        "linear_attention",
        {**SINGLE, "multiple": 64, "longest": 128},
    ),
    _fla(
        "gla.naive.naive_recurrent_gla",
        "channel_decay",
        {**FLOAT, **STATE, "names": {"decay": "gk"}},
        convention=LOG,
    ),
    _fla("simple_gla.naive.naive_recurrent_simple_gla", "scalar_decay", GATED, convention=LOG),
    _fla(
        "simple_gla.naive.naive_chunk_simple_gla",
        "scalar_decay",
        {**GATED, **SINGLE},
        convention=LOG,
    ),
    _fla(
        "simple_gla.naive.naive_parallel_simple_gla",
        "scalar_decay",
        {**SINGLE, "names": {"decay": "g"}},
        adapter=adapt.output_alone,
        convention=LOG,
    ),
    _fla("delta_rule.naive.delta_rule_recurrence", "delta_rule", FLOAT, axes="head time"),
    _fla(
        "delta_rule.naive.delta_rule_chunkwise", "delta_rule", {**SINGLE, **PAIR}, axes="head time"
    ),
    _fla(
        "delta_rule.naive.delta_rule_parallel",
        "delta_rule",
        {**SINGLE, "multiple": 4, "longest": 12, "constants": {"BM": 4, "BN": 2}},
        axes="head time",
        adapter=adapt.output_alone,
    ),
    _fla(
        "gated_delta_rule.naive.naive_recurrent_gated_delta_rule",
        "gated_delta_rule",
        {**GATED, **SINGLE},
        convention=LOG,
    ),
    _fla(
        "gated_delta_rule.naive.naive_chunk_gated_delta_rule",
        "gated_delta_rule",
        {**GATED, **SINGLE},
        convention=LOG,
    ),
    _fla("kda.naive.naive_recurrent_kda", "kda", GATED, convention=LOG),
    _fla("kda.naive.naive_chunk_kda", "kda", {**GATED, **PAIR}, convention=LOG),
    _fla(
        "comba.naive.naive_recurrent_comba",
        "undecayed_residual",
        {**GATED, **SINGLE, "names": {"decay": "g", **START}},
        adapter=adapt.erasing_its_key,
        convention=LOG,
        note="with p = k; the rule is that of the chunked reference and of the kernels",
    ),
    _fla(
        "comba.naive.naive_chunk_comba",
        "undecayed_residual",
        {**GATED, **SINGLE, "names": {"decay": "g", "chunk": "chunk_size", **START}},
        adapter=adapt.erasing_its_key,
        convention=LOG,
        note="with p = k",
    ),
    _fla(
        "gated_delta_product.naive.naive_recurrent_gated_delta_product",
        "gated_delta_rule",
        {**GATED, **SINGLE, "names": {"decay": "g", **START}},
        adapter=adapt.one_householder,
        convention=LOG,
        note="with one Householder factor",
    ),
    _fla(
        "generalized_delta_rule.iplr.naive.iplr_recurrence",
        "delta_rule",
        {**SINGLE, "names": START},
        axes="head time",
        adapter=adapt.identity_plus_low_rank,
        note="alpha = -b k, beta = k",
    ),
    _fla(
        "generalized_delta_rule.iplr.naive.iplr_chunkwise",
        "delta_rule",
        {**SINGLE, **PAIR, "names": {"chunk": "chunk_size", **START}},
        axes="head time",
        adapter=adapt.identity_plus_low_rank,
        note="alpha = -b k, beta = k",
    ),
    _fla(
        "generalized_delta_rule.dplr.naive.dplr_recurrence",
        "kda",
        {**SINGLE, "names": START},
        axes="head time",
        adapter=adapt.diagonal_plus_low_rank,
        convention=LOG,
        note="alpha = -b a k",
    ),
    _fla(
        "generalized_delta_rule.dplr.naive.dplr_chunkwise",
        "kda",
        {**SINGLE, **PAIR, "names": {"chunk": "chunk_size", **START}},
        axes="head time",
        adapter=adapt.diagonal_plus_low_rank,
        convention=LOG,
        note="alpha = -b a k",
    ),
    _fla(
        "mesa_net.naive.naive_mesa_net_exact",
        "mesa",
        {**SINGLE, "square": True, "names": {"gamma": "gamma", "state": "state"}},
        adapter=adapt.mesa_exact,
        convention={"state": "key value", "gates": {"gamma": "log"}},
    ),
    _fla(
        "mesa_net.naive.naive_mesa_net_CG",
        "mesa",
        {**SINGLE, "square": True, "multiple": 2, "longest": 8, "names": {"state": "state"}},
        adapter=adapt.mesa_iterative,
        convention={"state": "key value", "gates": {"gamma": "log"}},
        expected="conjugate gradients, with 1e-5 added to their denominators",
    ),
    _fla(
        "momentum_delta_rule.naive.recurrent_momentum_delta_rule_ref",
        "titans",
        SINGLE,
        adapter=adapt.momentum_delta_as_titans,
        note="with p = k and beta = 1",
    ),
    _fla(
        "momentum_delta_rule.naive.chunk_momentum_delta_rule_ref",
        "titans",
        {**SINGLE, "names": {"chunk": "chunk_size"}},
        adapter=adapt.momentum_delta_as_titans,
        note="with p = k and beta = 1, where the 1e-6 added to beta stays under the bound",
    ),
    _transformers("qwen3_next", "torch_recurrent_gated_delta_rule", "gated_delta_rule", SAME),
    _transformers("qwen3_next", "torch_chunk_gated_delta_rule", "gated_delta_rule", SAME),
    _transformers(
        "kimi_linear",
        "recurrent_kimi_delta_attention",
        "kda",
        SAME,
        constants={"initial_state": None, "output_final_state": True},
    ),
    _transformers("kimi_linear", "chunk_kimi_delta_attention", "kda", SAME),
    Case(
        package="mambapy",
        function="mambapy.pscan.pscan",
        rule="channel_decay",
        adapter=adapt.scan,
        axes="head time",
        plain=SINGLE,
        note="the scan over v k^T",
    ),
    Case(
        package="assoc-scan",
        function="assoc_scan.AssocScan",
        rule="channel_decay",
        adapter=lambda f: adapt.scan(f()),
        axes="head time",
        plain=SINGLE,
        note="the scan over v k^T",
    ),
    Case(
        package="titans-pytorch",
        function="titans_pytorch.NeuralMemory",
        rule="titans",
        adapter=adapt.neural_memory,
        axes="head time",
        plain={**SINGLE, "longest": 4},
        note="one linear memory, mini-batches of one token",
    ),
    Case(
        package="performer-pytorch",
        function="performer_pytorch.performer_pytorch.causal_linear_attention_noncuda",
        rule="linear_attention",
        axes="head time",
        convention={"normaliser": 0.0},
        plain={**SINGLE, "positive": True, "chunks": (1, 2, 3), "constants": {"eps": 0.0}},
        note="with eps=0; its chunk_size is a number of chunks",
    ),
    Case(
        package="performer-pytorch",
        function="performer_pytorch.performer_pytorch.causal_linear_attention_noncuda",
        rule="linear_attention",
        axes="head time",
        convention={"normaliser": 0.0},
        plain={**SINGLE, "positive": True, "chunks": (1, 2, 3)},
        expected="eps = 1e-6 is added to every channel of the summed keys",
    ),
    Case(
        package="linear-attention-transformer",
        function="linear_attention_transformer.linear_attention_transformer.causal_linear_attn",
        rule="linear_attention",
        adapter=adapt.exponential_features,
        axes="head time",
        convention={"normaliser": 0.0},
        plain={
            **SINGLE,
            "positive": True,
            "square": True,
            "constants": {"bucket_size": 1, "eps": 0.0},
        },
        note="given logarithms of features; bucket_size=1, eps=0",
    ),
    Case(
        package="linear-attention-transformer",
        function="linear_attention_transformer.linear_attention_transformer.causal_linear_attn",
        rule="linear_attention",
        adapter=adapt.exponential_features,
        axes="head time",
        convention={"normaliser": 0.0},
        plain={
            **SINGLE,
            "positive": True,
            "square": True,
            "multiple": 2,
            "constants": {"bucket_size": 2, "eps": 1e-3},
        },
        expected="a bucket reads the buckets before it, not itself (its `blindspot_size`)",
    ),
)
NOT_RUN: Mapping[str, str] = {
    "pytorch-fast-transformers 0.4.0": "the build asks for CUDA_HOME, which a machine without "
    "the CUDA toolkit does not have",
    "flash-linear-attention, fla-core: Triton kernels": "they need a GPU; the references beside "
    "them are what ran",
    "x-transformers 2.31.10": "installs, but has no linear attention that can be called alone",
    "fla.ops.retention.naive.naive_retention": "its decays are fixed by the head's number, not "
    "an argument",
    "performer_pytorch causal_linear_attention": "imports pytorch-fast-transformers",
    "mambapy.mamba2": "imports mamba_ssm, which needs CUDA",
}
