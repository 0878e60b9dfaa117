"""In-context scoring with one shared prefix against a plain loop over the same queries.

`python benchmarks/shared_prefix.py --data DATA --tokenizer BPE --every 8 --out FILE`

ICL on SST-2 (872 rows, 32 demonstrations) at the published 125M geometry with random weights. The
plain loop is one whole forward pass of transformers per query. Both run in turns in one process,
so that other load on the machine meets both: after each of our batches, the plain loop reads
every N-th of its queries (`--every N`). Ours is timed on all queries, with reading the context.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from empirical.data.paper_tasks import FolderSource, get_task
from empirical.inference.batches import parts
from empirical.inference.read_options import ReadOptions
from empirical.models.loading import load
from empirical.study.preparation import StudySettings, prepare


def plain(model, context, query, labels):
    """Log-probabilities of the labels [C] from one whole forward pass."""
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([[*context, *query.prompt]])).logits[0, -1]
    return torch.log_softmax(logits, -1)[[label[0] for label in labels]].numpy()


def run(model, ready, reading, every):
    """Seconds of ours on all queries, of the plain loop per query, and scores of both [N,C]."""
    next(parts(model, ready.queries, reading, ready.context))
    plain(model, ready.context, ready.queries[0], ready.labels)
    ours, seconds, mine, theirs, turn = 0.0, [], [], [], 0
    start = time.perf_counter()
    for part in parts(model, ready.queries, reading, ready.context):
        ours += time.perf_counter() - start
        for j, i in enumerate(part.index):
            turn += 1
            if turn % every == every // 2:
                start = time.perf_counter()
                theirs.append(plain(model, ready.context, ready.queries[i], ready.labels))
                seconds.append(time.perf_counter() - start)
                mine.append(part.scores[j])
        print(f"{turn} of {len(ready.queries)}: {ours:.1f} s, {np.mean(seconds):.3f}", flush=True)
        start = time.perf_counter()
    return ours, float(np.mean(seconds)), np.stack(mine), np.stack(theirs)


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
    found = []
    for record in (False, True):
        reading = ReadOptions(labels=ready.labels, words=task.labels, record=record)
        found.append(run(model, ready, reading, given.every))
    (fast, per_query, mine, theirs), (recorded, per_query_2, _, _) = found
    tokens = [len(q.prompt) for q in ready.queries]
    gap = np.abs(theirs - mine)
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
        "plain_queries": len(mine),
        "plain_seconds_per_query": per_query,
        "ours_seconds": fast,
        "ours_seconds_per_query": fast / len(ready.queries),
        "ours_recording_seconds": recorded,
        "ratio": per_query * len(ready.queries) / fast,
        "ratio_recording": per_query_2 * len(ready.queries) / recorded,
        "plain_seconds_per_query_beside_recording": per_query_2,
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
