"""Times of the variants' forms, all in one run: the slow twin, and the fast form by chunk size.

`python -m benchmarks.variants` prints the table of benchmarks/variants.md. Rounds go through all
the forms in turn, so that a slow spell of the machine falls on all of them; the least time of the
rounds counts. Forward only, one thread.
"""

import argparse
import time
from collections.abc import Callable

import torch

from dualform.variants import VARIANTS, Variant

CHUNKS = (16, 64, 256)


def inputs_of(variant: Variant, tokens: int, heads: int, width: int) -> dict[str, torch.Tensor]:
    """float32 tokens [heads, tokens, width] with unit keys, gates in [0.5, 1]."""
    g = torch.Generator().manual_seed(0)
    made = {n: torch.randn(heads, tokens, width, generator=g) for n in "qkv"}
    made["k"] = torch.nn.functional.normalize(made["k"], dim=-1)
    for name, gate in variant.gates.items():
        wide = (width,) if gate.per == "channel" else ()
        made[name] = 0.5 + torch.rand(heads, tokens, *wide, generator=g) / 2
    if "theta" in made:
        made["theta"] = made["theta"] / 8
    return made


def seconds(call: Callable[[], object]) -> float:
    """One call's wall time."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def timed(variant: Variant, tokens: int, heads: int, width: int, rounds: int) -> list[float]:
    """The least seconds of the slow form, then of the fast form for every chunk size."""
    inputs = inputs_of(variant, tokens, heads, width)
    calls: list[Callable[[], object]] = [lambda: variant.slow(**inputs)]
    calls += [lambda c=c: variant.fast(**inputs, chunk=c) for c in CHUNKS]
    best = [float("inf")] * len(calls)
    with torch.no_grad():
        for _ in range(rounds):
            best = [min(b, seconds(call)) for b, call in zip(best, calls, strict=True)]
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    sizes = parser.parse_args()
    torch.set_num_threads(1)
    print("| variant | slow, ms | " + " | ".join(f"chunk {c}, ms" for c in CHUNKS), end="")
    print(" | slow / best fast |\n|---|" + "---:|" * (len(CHUNKS) + 2))
    for name, variant in VARIANTS.items():
        slow, *fast = timed(variant, sizes.tokens, sizes.heads, sizes.width, sizes.rounds)
        cells = " | ".join(f"{1e3 * s:.1f}" for s in (slow, *fast))
        print(f"| {name} | {cells} | {slow / min(fast):.1f} |")


if __name__ == "__main__":
    main()
