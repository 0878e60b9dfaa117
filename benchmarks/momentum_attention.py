"""A training step with each kind of attention against plain attention, all in one process.

`python -m benchmarks.momentum_attention` writes benchmarks/momentum-attention.json. One step is
forward, backward and Adam of a decoder with the layers of scale `small` at length 1024, float32,
one thread. Rounds go through all kinds in turn; the ratio of a round is to the plain step of the
same round, and what counts is the median of the rounds, with the interval of its order statistics.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from scipy import stats

from empirical.momentum.adapt import adapt
from empirical.momentum.scales import SCALES
from empirical.momentum.train import initial
from empirical.results.attention_kinds import KINDS, PLAIN, Layer

FILE = Path(__file__).parent / "momentum-attention.json"


def step(model: torch.nn.Module, optimiser: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    """One training step's wall time."""
    begin = time.perf_counter()
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    optimiser.step()
    optimiser.zero_grad()
    return time.perf_counter() - begin


def median(ratios: list[float]) -> dict[str, float]:
    """Median and the interval of order statistics that holds it with at least 95 %."""
    n, ordered = len(ratios), sorted(ratios)
    below = int(stats.binom.ppf(0.025, n, 0.5))
    low = max(below - 1, 0) if n > 5 else 0
    return {
        "median": float(stats.scoreatpercentile(ordered, 50)),
        "low": ordered[low],
        "high": ordered[n - 1 - low],
        "rounds": n,
    }


def main() -> None:
    """Time all kinds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    at = replace(SCALES["small"], layers=asked.layers, dtype="float32")
    layers = [Layer()] + [Layer(kind=k, eta=0.9) for k in KINDS if k != PLAIN]
    layers.append(Layer(kind="momentum", eta=0.9, learned=True))
    models = {x.name: adapt(initial(at, 1), x) for x in layers}
    optimisers = {n: torch.optim.Adam(m.parameters(), lr=1e-4) for n, m in models.items()}
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, at.vocabulary, (1, asked.length + 1), generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for i in range(asked.rounds + 1):
        for name, model in models.items():
            found = step(model, optimisers[name], ids)
            if i:  # the first round warms up
                seconds[name].append(found)
    plain = seconds[PLAIN]
    made = {
        name: median([a / b for a, b in zip(times, plain, strict=True)])
        for name, times in seconds.items()
        if name != PLAIN
    }
    value = {
        "length": asked.length,
        "layers": asked.layers,
        "width": at.width,
        "heads": at.heads,
        "vocabulary": at.vocabulary,
        "plain_seconds": sorted(plain)[len(plain) // 2],
        "ratios": made,
        "torch": torch.__version__,
    }
    asked.out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(value, indent=1))


if __name__ == "__main__":
    main()
