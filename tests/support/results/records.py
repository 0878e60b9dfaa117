"""A record with every kind of value in it, for the tests of records and tables."""

import numpy as np

from empirical.core.undefined import Undefined
from empirical.metrics.accumulate import kendall_measurements, measure
from empirical.metrics.kendall import measure_kendall
from empirical.results.record import Provenance, Record


class Outcome:
    def __init__(self, g, labels):
        n = len(labels)
        self.labels = labels
        self.predictions = g.integers(0, 2, n)
        self.h = g.normal(size=(n, 3, 8)).astype(np.float32)
        self.m = [np.random.default_rng(i).normal(size=(3, 2, 4)) + g.normal(size=(3, 2, 4))
                  for i in range(n)]  # fmt: skip


def provenance(model="tiny_model|1"):
    return Provenance(
        model=model,
        weights_sha256="0" * 64,
        source="grammar",
        source_sha256="1" * 64,
        revision=None,
        rule="numpy default_rng(1).permutation(40)",
        protocol="quick",
        seed=1,
        seed_selection=((1, 60.0), (2, 50.0)),
        k_asked=None,
        k=4,
        limit=30,
        rates=(0.01, 1.0),
        context_length=64,
        position="label",
        rates_on="training",
        rate=0.01,
        selection=((0.01, 55.0), (1.0, Undefined("finetuning diverged"))),
        dtype="float32",
        device="cpu",
        threads=1,
        versions={"torch": "2"},
        code_sha256="2" * 64,
        commit=None,
        command=("dualform", "study"),
    )


def record(task="sst2", seed=0, model="tiny_model|1"):
    g = np.random.default_rng(seed)
    labels = np.arange(30) % 2
    zsl, icl, ft = (Outcome(g, labels) for _ in range(3))
    found = measure(zsl, icl, ft, np.random.default_rng(seed))
    c, f = g.normal(size=(2, 5, 3, 120))
    ranks = measure_kendall(c, f, [20] * 6, np.random.default_rng(seed))
    found |= kendall_measurements(ranks, np.random.default_rng)
    return Record(task=task, provenance=provenance(model), counts={"evaluation": 30}, metrics=found)
