"""A tiny random XGLM and a tokenizer whose label words are single tokens."""

from functools import cache
from typing import Any

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer

from empirical.data.paper_tasks import TASKS
from empirical.data.prompts import Query
from empirical.models.loading import Geometry, LoadedModel, random_xglm

LABELS = ((70,), (71,))
WORDS = ("zero", "one")


@cache
def tokenizer() -> Any:
    """A byte-level BPE trained on the templates and label words."""
    texts = [t.template for t in TASKS.values()]
    texts += [f"x {label}" for t in TASKS.values() for label in t.labels] * 4
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=600, min_frequency=2, show_progress=False)
    return bpe


def tiny(dtype: torch.dtype = torch.float64, positions: int = 512) -> LoadedModel:
    """Two layers of width 16, with weights large enough that attention is far from uniform."""
    loaded = random_xglm(
        Geometry(layers=2, width=16, heads=2, ffn=32, positions=positions), 0, tokenizer()
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in loaded.model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    loaded.model.to(dtype)
    return loaded


def queries(n: int, seed: int = 0) -> list[Query]:
    """n prompts of 3..9 random tokens, two classes."""
    rng = np.random.default_rng(seed)
    return [
        Query(prompt=tuple(int(t) for t in rng.integers(5, 200, rng.integers(3, 10))), label=i % 2)
        for i in range(n)
    ]


def context(model: LoadedModel, shown: list[Query]) -> tuple[int, ...]:
    """BOS (prompt label EOS)^k."""
    tokens = [model.encoder.bos]
    for q in shown:
        tokens += [*q.prompt, *LABELS[q.label], model.encoder.eos]
    return tuple(tokens)
