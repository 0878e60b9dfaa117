"""Captures in the files that the released analysis scripts of the paper read.

`BASE/ana_rlt/en_dense_lm_MODEL/TASK/{zs,icl,ftzs,ft}/record_info.jsonl`, one JSON object a line:
in zs, icl and ftzs the evaluation examples in one order, in ft the training examples in the order
of the updates. Source: microsoft/LMOps, `understand_icl/icl_ft/compute_sim.py` and
`compute_training_example_attn.py`; GiilDe/ft-vs-icl reads the same records in other folders.
Letters: L layers, H heads, d width, T_i query tokens, k demonstrations, N their tokens together,
T_c context tokens (BOS, and every demonstration with its EOS), T'_i tokens of training example i
(its BOS, no EOS), so that T_c = 1 + sum T'_i = 1 + k + N.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empirical.core.errors import UserError
from empirical.core.json_files import whole_file

Array = NDArray[np.floating[Any]]

SETTINGS = ("zs", "icl", "ftzs")
TRAINING = "ft"
FILE = "record_info.jsonl"
KENDALL_EXAMPLES = 100  # the Kendall script reads no more records of icl and of ftzs
TOP_DEMONSTRATIONS, TOP_TOKENS = 5, 100  # sizes of its top-k sets; it fails with fewer
KEYS = {"h": "self_attn_out_hiddens", "m": "attn_map", "c": "attn_map_ctx", "q": "attn_q"}
AXES = {"h": "L,d", "m": "L,H,T", "c": "L,T_c", "q": "L,d"}
NEEDED = {"zs": "", "icl": "c", "ftzs": "q"}  # by the Kendall script


@dataclass(frozen=True, kw_only=True)
class CapturedExample:
    """What a setting leaves at the last token p of an evaluation example; gold, predicted: classes.

    h [L,d]: output of the attention block (out-projection with bias, before the residual addition).
    m [L,H,T_i]: q_p.k_j / sqrt(d/H), before the softmax, for the query's own tokens j, p included.
    c [L,T_c]: the same towards BOS and demonstrations, summed over heads; icl.
    q [L,d]: query vector at p over sqrt(d/H), all heads side by side; ftzs.
    """

    h: Array
    m: Array
    c: Array | None = None
    q: Array | None = None
    gold: int
    predicted: int


def task_folder(base: Path, model: str, task: str) -> Path:
    """The folder of a task. Makes `BASE/ana_rlt/rlt_json`, where the scripts leave their results.

    The scripts' model argument is the MODEL of `en_dense_lm_MODEL`: `model`, where everything but
    letters, digits, point, - and _ became _.
    """
    (base / "ana_rlt" / "rlt_json").mkdir(parents=True, exist_ok=True)
    name, task = (re.sub(r"[^A-Za-z0-9._-]", "_", x) for x in (model, task))
    return base / "ana_rlt" / f"en_dense_lm_{name}" / task


def _need(holds: bool, expected: str, got: object, remedy: str) -> None:
    if not holds:
        raise UserError(f"expected {expected}, got {got}; {remedy}")


def _floats(value: Any, axes: str, where: str) -> Array:
    array = np.asarray(value)
    _need(
        array.dtype.kind == "f" and array.ndim == axes.count(",") + 1 and array.size > 0,
        f"{where} as floats [{axes}]",
        f"{array.dtype} of shape {list(array.shape)}",
        "pass what the forward pass recorded",
    )
    _need(
        bool(np.isfinite(array).all()),
        f"finite {where}",
        "NaN or an infinity",
        "look for a diverged finetuning or for masked scores",
    )
    return array


def _class(value: Any, where: str) -> int:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
    _need(bool(good), f"{where} as the index of a class", repr(value), "count classes from 0")
    return int(value)


def _agree(known: dict[str, int], sizes: Mapping[str, int], where: str) -> None:
    """Raise unless `sizes` are those of the records before, which `known` keeps."""
    for letter, size in sizes.items():
        _need(
            known.setdefault(letter, size) == size,
            f"{letter} = {known[letter]} in {where} as in what came before",
            size,
            "pass layers first, one model, and one context for all examples",
        )


def _given(example: CapturedExample, setting: str, number: int) -> dict[str, Array]:
    """The arrays of an example by letter; c or q may be missing where no script reads it."""
    where = f"record {number} of {setting}"
    all_of = {"h": example.h, "m": example.m, "c": example.c, "q": example.q}
    given = {k: _floats(v, AXES[k], f"{k} of {where}") for k, v in all_of.items() if v is not None}
    needed = NEEDED[setting]
    _need(
        number > KENDALL_EXAMPLES or not needed or needed in given,
        f"{needed} in the first {KENDALL_EXAMPLES} records of {setting}",
        f"none in record {number}",
        "record it there, where the released Kendall script reads it",
    )
    _need(
        setting == "ftzs" or "q" not in given,
        f"no q in {where}",
        "one",
        "released records have it in ftzs alone: check which setting this is",
    )
    return given


def _records(setting: str, examples: Iterable[CapturedExample]) -> Iterator[dict[str, Any]]:
    known: dict[str, int] = {}
    for number, example in enumerate(examples, 1):
        where = f"record {number} of {setting}"
        given = _given(example, setting, number)
        for value in given.values():
            _agree(known, {"L": value.shape[0]}, where)
        sizes = {"d": given["h"].shape[1], "H": given["m"].shape[1]}
        sizes |= {f"the length of {k}": given[k].shape[1] for k in ("c", "q") if k in given}
        _agree(known, sizes, where)
        yield {
            **{KEYS[k]: v.tolist() for k, v in given.items()},
            "gold_label": _class(example.gold, f"gold of {where}"),
            "pred_label": _class(example.predicted, f"predicted of {where}"),
        }


def _training(examples: Iterable[Array], context: int) -> Iterator[dict[str, Any]]:
    known: dict[str, int] = {}
    count = total = 0
    for count, value in enumerate(examples, 1):
        where = f"Q' of training example {count}"
        queries = _floats(value, "L,T,d", where)
        _agree(known, {"L": queries.shape[0], "d": queries.shape[2]}, where)
        total += queries.shape[1]
        yield {KEYS["q"]: queries.tolist()}
    _need(
        1 + total == context,
        f"{context - 1} tokens of all training examples (T_c - 1, every BOS in place of an EOS)",
        f"{total} of {count} examples",
        "pass Q' of every demonstration in the context and of no other, BOS first, no EOS",
    )
    _need(
        count >= TOP_DEMONSTRATIONS and total - count >= TOP_TOKENS,
        f"at least {TOP_DEMONSTRATIONS} training examples and {TOP_TOKENS} tokens beside their BOS",
        f"{count} and {total - count}",
        "leave ft out: the released Kendall script fails on fewer",
    )


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """One record in memory at a time; a temporary name, then a rename; no scrap after a failure."""
    with whole_file(path) as file:
        for record in records:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        _need(file.tell() > 0, f"a record for {path}", "none", "check what was captured")
    return path


def write_setting(folder: Path, setting: str, examples: Iterable[CapturedExample]) -> Path:
    """`FOLDER/SETTING/record_info.jsonl`, floats in full; `setting` is zs, icl or ftzs.

    c is needed in the first 100 records of icl, q in those of ftzs; elsewhere they may be None.

    Raises:
        UserError: for another setting, no examples, arrays that are not finite floats of fitting
            shapes, a missing c or q, a q outside ftzs, or negative classes.
    """
    _need(
        setting in SETTINGS,
        f"a setting among {', '.join(SETTINGS)}",
        repr(setting),
        "write_training writes ft",
    )
    return _write(folder / setting / FILE, _records(setting, examples))


def write_training(folder: Path, examples: Iterable[Array], context: int) -> Path:
    """`FOLDER/ft/record_info.jsonl`: Q' [L,T'_i,d] of every training example, BOS first, no EOS.

    Query vectors over sqrt(d/H) in the forward pass just before the update of that example, in the
    order of the updates, which is that of the demonstrations; `context` is T_c = 1 + sum T'_i.

    Raises:
        UserError: for arrays that are not finite floats of fitting shapes, tokens that do not make
            up the context, fewer than 5 examples or fewer than 100 tokens beside their BOS.
    """
    return _write(folder / TRAINING / FILE, _training(examples, context))
