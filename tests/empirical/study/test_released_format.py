"""Files for the released scripts: what those define on them is what `empirical` computes."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined
from empirical.metrics import kendall, similarity as metrics
from empirical.study.released_format import (
    CapturedExample,
    task_folder,
    write_setting,
    write_training,
)
from tests.support.twins import released_analysis as released

N, LAYERS, HEADS, WIDTH = 5, 3, 3, 12  # as many heads as layers: exchanged axes go unnoticed
LENGTHS = (19, 22, 17, 25, 20, 21)  # 124 tokens of 6 demonstrations
TOLERANCE = 1e-6
SETTINGS = ("zs", "icl", "ftzs")


def captured(setting, tokens, keys, p, dtype, **classes):
    """What `CapturedExample` says, of tokens [3,L,T,d] (states, queries, keys) at T + `p`."""
    h, q, k = tokens[:, :, : tokens.shape[2] + p + 1]
    by_head = k.reshape(LAYERS, -1, HEADS, WIDTH // HEADS)
    m = np.einsum("lhx,lthx->lht", q[:, -1].reshape(LAYERS, HEADS, -1), by_head)
    c = np.einsum("lx,ltx->lt", q[:, -1], keys)
    return CapturedExample(
        h=h[:, -1].astype(dtype),
        m=m.astype(dtype),
        c=c.astype(dtype) if setting == "icl" else None,
        q=q[:, -1].astype(dtype) if setting == "ftzs" else None,
        **classes,
    )


WRONG = {"zs": (0, 1, 2), "icl": (0,), "ftzs": (4,)}  # Rec2FTP 2/3


class Task:
    """Random states, queries and keys of every token, captured at the `p`-th from the end."""

    def __init__(self, seed=0, p=-1, spread=1.0, dtype="float64"):
        g = np.random.default_rng(seed)
        self.queries = [g.normal(size=(LAYERS, t + 1, WIDTH)).astype(dtype) for t in LENGTHS]
        keys = spread * g.normal(size=(LAYERS, 1 + len(LENGTHS) + sum(LENGTHS), WIDTH))
        self.context = keys.shape[1]
        gold, lengths = g.integers(0, 2, N).tolist(), g.integers(3, 8, N)
        base = [g.normal(size=(3, LAYERS, t, WIDTH)) for t in lengths]
        self.runs = {}
        for s in SETTINGS:
            answers = [y ^ (i in WRONG[s]) for i, y in enumerate(gold)]
            tokens = [x + 0.5 * g.normal(size=x.shape) for x in base]
            self.runs[s] = [
                captured(s, x, keys, p, dtype, gold=y, predicted=a)
                for x, y, a in zip(tokens, gold, answers, strict=True)
            ]

    def changed(self, setting, **new):
        """The same task where functions of the field give other fields in one setting, or all."""
        for s in SETTINGS if setting == "all" else (setting,):
            self.runs[s] = [
                replace(e, **{k: f(getattr(e, k)) for k, f in new.items()}) for e in self.runs[s]
            ]
        return self

    def write(self, folder):
        for s in SETTINGS:
            write_setting(folder, s, iter(self.runs[s]))
        write_training(folder, iter(self.queries), self.context)
        return folder

    def of(self, field, s):
        return [getattr(e, field) for e in self.runs[s]]

    def right(self, s):
        return np.array([e.gold == e.predicted for e in self.runs[s]])


def layers(found):
    assert not any(isinstance(x, Undefined) for x in found.per_layer)
    return found.per_layer


def scores(task):
    """c and f [n,L,N] as `empirical.metrics.kendall` takes them."""
    c = np.array(task.of("c", "icl"))[:, :, kendall.demonstration_tokens(LENGTHS)]
    shown = np.concatenate([q[:, 1:] for q in task.queries], axis=1)
    return c, kendall.attended(shown, np.array(task.of("q", "ftzs")))


def ours(task):
    h = [np.array(task.of("h", s)) for s in ("icl", "zs", "ftzs")]
    m = [task.of("m", s) for s in ("icl", "zs", "ftzs")]
    c, f = scores(task)
    mass_c, mass_f = (kendall.example_masses(x, LENGTHS) for x in (c, f))
    return {
        **{f"accuracy {s}": metrics.accuracy(task.right(s)).value for s in SETTINGS},
        "rec2ftp": metrics.rec2ftp(*(task.right(s) for s in SETTINGS)).recall.value,
        "sim_aou": layers(metrics.sim_aou(*h)),
        "before": layers(metrics.sim_am(m[0], m[1])),
        "after": layers(metrics.sim_am(m[0], m[2])),
        "delta": layers(metrics.sim_am_delta(*m)),
        "token kendall": layers(kendall.token_kendall(c, f)),
        "example kendall": layers(kendall.example_kendall(c, f, LENGTHS)),
        "token recall": layers(kendall.top_k_recall(c, f, 100)),
        "example recall": layers(kendall.top_k_recall(mass_c, mass_f, 5)),
    }


def theirs(folder):
    return {
        **{f"accuracy {s}": released.accuracy(folder, s) for s in SETTINGS},
        "rec2ftp": released.rec2ftp(folder),
        "sim_aou": released.sim_aou(folder),
        "before": released.sim_am(folder, "zs"),
        "after": released.sim_am(folder, "ftzs"),
        "delta": released.sim_am_delta(folder),
        "token kendall": released.kendall(folder, "token"),
        "example kendall": released.kendall(folder, "example"),
        "token recall": released.recall(folder, "token"),
        "example recall": released.recall(folder, "example"),
    }


def disagreeing(one, two):
    assert one.keys() == two.keys()
    return {k for k in one if np.max(np.abs(np.subtract(one[k], two[k]))) > TOLERANCE}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("seed", [0, 1])
def test_released_definitions_agree(tmp_path, seed, dtype):
    task = Task(seed, dtype=dtype, spread=0.1)
    folder = task.write(tmp_path)
    released.check_layout(folder)
    found = ours(task)
    assert found["rec2ftp"] == pytest.approx(200 / 3) and np.ptp(found["token kendall"]) > 1e-3
    assert disagreeing(found, theirs(folder)) == set()


def swapped_files(task):
    task.runs["zs"], task.runs["ftzs"] = (
        [replace(e, q=q) for e, q in zip(task.runs[s], qs, strict=True)]
        for s, qs in (("ftzs", [None] * N), ("zs", task.of("q", "ftzs")))
    )
    return task


def shuffled_demonstrations(task):
    task.queries = task.queries[::-1]
    return task


def last_token_first(task):
    task.queries = [np.roll(q, 1, axis=1) for q in task.queries]
    return task


AM, KENDALL = {"before", "after", "delta"}, {"token kendall", "example kendall"}
NEAR_MISSES = {
    "layers and heads exchanged": (lambda t: t.changed("all", m=lambda m: m.swapaxes(0, 1)), AM),
    "the label word left out": (lambda t: t.changed("all", m=lambda m: m[..., :-1]), AM),
    "weights in place of scores": (
        lambda t: t.changed("all", m=lambda m: np.exp(m) / np.exp(m).sum(-1, keepdims=True)),
        AM,
    ),
    "states of the layer before": (
        lambda t: t.changed("all", h=lambda h: np.roll(h, 1, axis=0)),
        {"sim_aou"},
    ),
    "residual stream added": (lambda t: t.changed("all", h=lambda h: h + 1.0), {"sim_aou"}),
    "zs and ftzs exchanged": (swapped_files, {"sim_aou", "after", "delta", "rec2ftp"}),
    "label off by one": (
        lambda t: t.changed("all", predicted=lambda y: y + 1),
        {"rec2ftp", "accuracy icl"},
    ),
    "context without its BOS": (
        lambda t: t.changed("icl", c=lambda c: np.roll(c, -1, axis=1)),
        KENDALL,
    ),
    "context of the layer before": (
        lambda t: t.changed("icl", c=lambda c: np.roll(c, 1, axis=0)),
        KENDALL,
    ),
    "training sequence without its BOS": (last_token_first, KENDALL),
    "demonstrations in another order": (shuffled_demonstrations, KENDALL),
    "queries at the layer before": (
        lambda t: t.changed("ftzs", q=lambda q: np.roll(q, 1, axis=0)),
        KENDALL,
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_disagree(tmp_path, name):
    change, noticed_by = NEAR_MISSES[name]
    right = ours(Task())
    assert disagreeing(right, theirs(change(Task()).write(tmp_path))) >= noticed_by


def test_the_position_before_disagrees(tmp_path):
    found = disagreeing(ours(Task()), theirs(Task(p=-2).write(tmp_path)))
    assert found >= AM | KENDALL | {"sim_aou"}


def test_random_sim_aou_of_the_same_draws(tmp_path):
    task = Task()
    folder = task.write(tmp_path)
    h = [np.array(task.of("h", s)) for s in ("icl", "zs")]
    drawn = metrics.random_sim_aou(*h, np.random.Generator(np.random.MT19937(3)))
    state = np.random.RandomState(np.random.MT19937(3))
    np.testing.assert_allclose(released.random_sim_aou(folder, state), layers(drawn), atol=1e-12)
    other = released.random_sim_aou(folder, state)
    assert np.max(np.abs(np.subtract(other, layers(drawn)))) > 1e-3


def test_where_they_count_a_zero_update_and_we_do_not(tmp_path):
    task = Task()
    task.runs["ftzs"][0] = replace(task.runs["ftzs"][0], h=task.runs["zs"][0].h)
    folder = task.write(tmp_path)
    found = metrics.sim_aou(*(np.array(task.of("h", s)) for s in ("icl", "zs", "ftzs")))
    assert found.excluded == LAYERS
    np.testing.assert_allclose(
        released.sim_aou(folder), np.array(layers(found)) * (N - 1) / N, atol=1e-12
    )


def test_where_they_divide_by_zero_and_we_say_why(tmp_path):
    task = Task()
    task.runs["zs"] = [replace(e, predicted=e.gold) for e in task.runs["zs"]]
    folder = task.write(tmp_path)
    found = metrics.rec2ftp(*(task.right(s) for s in SETTINGS)).recall
    assert isinstance(found, Undefined)
    with pytest.raises(ZeroDivisionError):
        released.rec2ftp(folder)


def test_where_their_softmax_ties_the_tail(tmp_path):
    task = Task(spread=300.0)
    found, (c, f) = released.kendall(task.write(tmp_path), "token"), scores(task)
    tied = layers(kendall.token_kendall(kendall.weights(c), kendall.weights(f)))
    np.testing.assert_allclose(found, tied, atol=1e-12)
    assert np.max(np.abs(np.subtract(found, layers(kendall.token_kendall(c, f))))) > 1e-3


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_layout_and_full_precision(tmp_path, dtype):
    task = Task(dtype=dtype, spread=0.1)
    folder = task.write(task_folder(tmp_path, "some/model 1", "sst2"))
    assert folder == tmp_path / "ana_rlt" / "en_dense_lm_some_model_1" / "sst2"
    assert (tmp_path / "ana_rlt" / "rlt_json").is_dir()
    keys = ["self_attn_out_hiddens", "attn_map", "gold_label", "pred_label"]
    wanted = {
        "zs": keys,
        "icl": [*keys[:2], "attn_map_ctx", *keys[2:]],
        "ftzs": [*keys[:2], "attn_q", *keys[2:]],
        "ft": ["attn_q"],
    }
    for s, names in wanted.items():
        path = folder / s / "record_info.jsonl"
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [list(json.loads(line)) for line in lines] == [names] * (
            len(LENGTHS) if s == "ft" else N
        )
    for e, r in zip(task.runs["icl"], released.records(folder, "icl"), strict=True):
        for field, key in (("h", keys[0]), ("m", keys[1]), ("c", "attn_map_ctx")):
            again = np.array(r[key]).astype(dtype)
            assert again.tobytes() == np.ascontiguousarray(getattr(e, field)).tobytes()
        assert (r["gold_label"], r["pred_label"]) == (e.gold, e.predicted)


def test_one_record_in_memory_at_a_time(tmp_path):
    alive = []

    def stream():
        for i in range(30):
            example = replace(Task().runs["zs"][0], h=np.full((LAYERS, WIDTH), float(i)))
            alive.append(weakref.ref(example))
            yield example
            del example
            assert sum(x() is not None for x in alive) <= 2
        written = (p for p in (tmp_path / "zs").rglob("*") if p.is_file())
        assert sum(p.stat().st_size for p in written) > 10_000

    write_setting(tmp_path, "zs", stream())
    assert len(alive) == 30


def test_a_failure_keeps_the_file_before_and_leaves_no_scrap(tmp_path):
    path = write_setting(tmp_path, "zs", Task().runs["zs"])
    before = path.read_bytes()

    def stops():
        yield Task(1).runs["zs"][0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_setting(tmp_path, "zs", stops())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    write_setting(tmp_path, "zs", Task(1).runs["zs"])
    assert path.read_bytes() != before


def one(**new):
    return lambda: [replace(Task().runs["zs"][0], **new)]


H = np.ones((LAYERS, WIDTH))
BAD_SETTINGS = {
    "another setting": (
        "ft", one(), "expected a setting among zs, icl, ftzs, got 'ft'; write_training writes ft"),
    "no example": ("zs", lambda: [], "expected a record for .*, got none; check what was captured"),
    "integers": (
        "zs", one(h=H.astype(int)),
        r"expected h of record 1 of zs as floats \[L,d\], got int64 of shape \[3, 12\]; pass what"),
    "one axis too many": (
        "zs", one(m=np.ones((1, LAYERS, HEADS, 4))),
        r"expected m of record 1 of zs as floats \[L,H,T\], got float64 of shape \[1, 3, 3, 4\];"),
    "no token": ("zs", one(m=np.ones((LAYERS, HEADS, 0))), r"got float64 of shape \[3, 3, 0\];"),
    "not finite": (
        "zs", one(m=np.full((LAYERS, HEADS, 2), -np.inf)),
        "expected finite m of record 1 of zs, got NaN or an infinity; look for a diverged"),
    "heads first": (
        "zs", one(m=np.ones((HEADS + 1, LAYERS, 4))),
        "expected L = 3 in record 1 of zs as in what came before, got 4; pass layers first"),
    "another model": (
        "zs", lambda: [*one()(), *one(h=np.ones((LAYERS, 7)))()],
        "expected d = 12 in record 2 of zs as in what came before, got 7; pass layers first"),
    "another number of heads": (
        "zs", lambda: [*one()(), *one(m=np.ones((LAYERS, 4, 7)))()],
        "expected H = 3 in record 2 of zs as in what came before, got 4;"),
    "another context": (
        "icl", lambda: [*one(c=H)(), *one(c=np.ones((LAYERS, 5)))()],
        "expected the length of c = 12 in record 2 of icl as in what came before, got 5;"),
    "no context": (
        "icl", one(),
        "expected c in the first 100 records of icl, got none in record 1; record it there"),
    "no query": (
        "ftzs", one(), "expected q in the first 100 records of ftzs, got none in record 1;"),
    "finetuned captures as zero-shot ones": (
        "zs", one(q=H), "expected no q in record 1 of zs, got one; released records have it in"),
    "a class below 0": (
        "zs", one(gold=-1),
        "expected gold of record 1 of zs as the index of a class, got -1; count classes from 0"),
    "a truth value": ("zs", one(predicted=True), "expected predicted of record 1 .*, got True;"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_refused_in_one_line(tmp_path, name):
    setting, examples, message = BAD_SETTINGS[name]
    with pytest.raises(UserError, match=message) as caught:
        write_setting(tmp_path, setting, examples())
    assert "\n" not in str(caught.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


Q = [np.ones((LAYERS, t + 1, WIDTH)) for t in LENGTHS]
CONTEXT = 1 + sum(LENGTHS) + len(LENGTHS)
BAD_TRAINING = {
    "without BOS": (
        [q[:, 1:] for q in Q],
        CONTEXT,
        "expected 130 tokens of all training examples .*, got 124",
    ),
    "a demonstration that is not in the context": (
        [*Q, Q[0]],
        CONTEXT,
        "expected 130 tokens .*, got 150 of 7 examples; pass Q' of every",
    ),
    "none": ([], CONTEXT, "expected 130 tokens .*, got 0 of 0 examples;"),
    "too few demonstrations": (
        [np.ones((LAYERS, 31, WIDTH))] * 4,
        1 + 4 * 31,
        "expected at least 5 training examples and 100 tokens beside their BOS, got 4 and 120;",
    ),
    "too few tokens": (
        [q[:, :17] for q in Q],
        103,
        "expected at least 5 .*, got 6 and 96; leave ft out",
    ),
    "exchanged axes": (
        [q.swapaxes(0, 1) for q in Q],
        CONTEXT,
        "expected L = 20 in Q' of .* 2 as .*, got 23;",
    ),
    "one token": ([np.ones((LAYERS, WIDTH))], CONTEXT, r"as floats \[L,T,d\], got float64 of"),
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_training_is_refused_in_one_line(tmp_path, name):
    examples, context, message = BAD_TRAINING[name]
    with pytest.raises(UserError, match=message) as caught:
        write_training(tmp_path, examples, context)
    assert "\n" not in str(caught.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_c_and_q_may_stop_after_the_hundred_records_that_are_read(tmp_path):
    icl, ftzs = Task().runs["icl"][0], Task().runs["ftzs"][0]
    write_setting(tmp_path, "icl", [icl] * 100 + [replace(icl, c=None)] * 2)
    write_setting(tmp_path, "ftzs", [ftzs] * 100 + [replace(ftzs, q=None)])
    assert ["attn_map_ctx" in r for r in released.records(tmp_path, "icl")][99:] == [1, 0, 0]
    with pytest.raises(UserError, match="got none in record 100;"):
        write_setting(tmp_path, "icl", [icl] * 99 + [replace(icl, c=None)])
