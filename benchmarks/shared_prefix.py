"""In-context scoring with one shared prefix against a plain loop over the same queries.

`python benchmarks/shared_prefix.py --data DATA --tokenizer BPE --out FILE`

ICL on SST-2 (872 rows, 32 demonstrations) at the published 125M geometry with random weights. The
plain loop is one whole forward pass of transformers per query. `--every 8` runs the plain loop on
every eighth query in order of length; ours always runs on all of them. Both run in one process;
one batch and one query are run before to warm up.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from empirical.experiments import StudySettings, prepare
from empirical.models import load
from empirical.settings import Reading, in_context, parts
from empirical.tasks import FolderSource, get_task


def plain(model, context, query, labels):
    """Log-probabilities of the labels [C] from one whole forward pass."""
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([[*context, *query.prompt]])).logits[0, -1]
    return torch.log_softmax(logits, -1)[[label[0] for label in labels]].numpy()


def main() -> None:
    """Time both, compare what they give, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--model", default="random:125M")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load(given.model, tokenizer=given.tokenizer)
    task = get_task("sst2")
    settings = StudySettings(seed=2, rates=(0.01,))
    ready = prepare(model, task, FolderSource(path=given.data), settings)
    order = sorted(range(len(ready.queries)), key=lambda i: len(ready.queries[i].prompt))
    chosen = order[given.every // 2 :: given.every]
    reading = Reading(labels=ready.labels, words=task.labels, record=False)

    next(parts(model, ready.queries, reading, ready.context))
    start = time.perf_counter()
    ours = in_context(model, ready.queries, ready.labels, task.labels, ready.context, record=False)
    fast = time.perf_counter() - start
    start = time.perf_counter()
    in_context(model, ready.queries, ready.labels, task.labels, ready.context)
    recorded = time.perf_counter() - start

    plain(model, ready.context, ready.queries[chosen[0]], ready.labels)
    rows, seconds = [], []
    for number, i in enumerate(chosen):
        start = time.perf_counter()
        rows.append(plain(model, ready.context, ready.queries[i], ready.labels))
        seconds.append(time.perf_counter() - start)
        if number % 20 == 0:
            print(f"{number} of {len(chosen)}: {np.mean(seconds):.3f} s a query", flush=True)
    theirs = np.stack(rows)
    mine = ours.scores[chosen]
    tokens = [len(q.prompt) for q in ready.queries]
    gap = np.abs(theirs - mine)
    per_query = float(np.mean(seconds))
    value = {
        "model": given.model,
        "queries": len(ready.queries),
        "demonstrations": len(ready.shown),
        "context_tokens": len(ready.context),
        "mean_query_tokens": float(np.mean(tokens)),
        "token_bound": float(
            sum(len(ready.context) + t for t in tokens) / (len(ready.context) + sum(tokens))
        ),
        "threads": given.threads,
        "plain_queries": len(chosen),
        "plain_seconds_per_query": per_query,
        "ours_seconds": fast,
        "ours_seconds_per_query": fast / len(ready.queries),
        "ours_recording_seconds": recorded,
        "ratio": per_query * len(ready.queries) / fast,
        "ratio_recording": per_query * len(ready.queries) / recorded,
        "largest_difference_of_log_probabilities": float(gap.max()),
        "smallest_margin": float(np.abs(np.diff(mine, axis=1)).min()),
        "equal_predictions": int((theirs.argmax(1) == mine.argmax(1)).sum()),
        "peak_memory_GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "torch": torch.__version__,
    }
    given.out.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
