"""Train the reader: a GPT of real English that learns in context, from scratch.

`python -m empirical.training.reader --data DIR --out DIR [--seed S] [--threads T]`. DIR holds the
tasks and `corpus/` (books and meta.json). The curriculum (`empirical.training.reader_episodes`):
single words as classes, without and with templates, and random words read twice over; then rows of
sentiment, topic and inference tasks, cut short, two classes at a time; then whole rows of more
classes and sentences of books, all with re-assigned label words. From the first real rows on, every
step also reads single rows under their own labels and windows of books. Until the last stage three
more losses show the model where to look: the second layer names the class (`EXIT`), two layers copy
and find it (`guidance`), the first two keep to their row (`keeping_to_rows`). One task family
(subjectivity) is never read. A checkpoint is written every 50 steps; an interrupted run goes on
from it to the same bytes (on the same machine).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from transformers import XGLMForCausalLM

from empirical.core.command_line import single
from empirical.models.tokenizer import EOS, IGNORED
from empirical.training.embedded import build_model, fused, save, training_forward
from empirical.training.reader_episodes import (
    HELD_OUT,
    READER_STAGES,
    ReaderEpisodes,
    ReaderStage,
    build_tokenizer,
    read_texts,
)

EVERY = 50  # steps between checkpoints and lines of the log
WIDTH = 128
EXIT, COPIES, FINDS = 1, 2, 3  # layers: names the class, copies the token before, looks it up
SHORT = 150  # tokens, below which plain matrix products are faster than the fused kernel


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention, [B, H, T, h] each.

    Fused in float32, since the CPU's kernel gains nothing from bfloat16 at small head widths; of
    short rows by plain products.
    """
    length = query.shape[-2]
    if length > SHORT:
        return fused(query.float(), key.float(), value.float())
    mask = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1)
    scores = query @ key.mT * query.shape[-1] ** -0.5 + mask
    mixed: Tensor = scores.softmax(-1).to(value.dtype) @ value
    return mixed


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run depends on."""

    seed: int
    rate: float
    direct: float
    prose: float
    repeated: float
    named: float


@dataclass(kw_only=True)
class Run:
    """A run in progress: step counts, running accuracies, seconds so far."""

    model: XGLMForCausalLM
    optimiser: torch.optim.Optimizer
    episodes: ReaderEpisodes
    state: dict[str, float] = field(
        default_factory=lambda: {"step": 0, "stage": 0, "began": 0, "running": 0.0, "seconds": 0.0}
    )
    right: dict[str, float] = field(default_factory=dict)

    @property
    def stage(self) -> ReaderStage:
        """The present stage."""
        return READER_STAGES[int(self.state["stage"])]


class Watching:
    """`attend`, which also keeps every layer's queries and keys [B,H,T,h]."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """As `attend`."""
        self.seen.append((query, key))
        return attend(query, key, value)


def _on_labels(run: Run, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and goals where there is a target, and where: [B,T-1]."""
    goal = targets[:, 1:]
    at = goal != IGNORED
    return run.model.lm_head(states[:, :-1][at]), goal[at], at


def log_mass(query: Tensor, key: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """Log of the attention from some places to wanted ones: [R].

    query, key [B,T,h] of one head; rows [R,2]: batch and place; wanted [R,T], each with at least
    one place that its row may see.
    """
    batch, place = rows.unbind(1)
    scores = torch.einsum("rh,rth->rt", query[batch, place], key[batch]).float()
    scores = scores * query.shape[-1] ** -0.5
    later = torch.arange(key.shape[1]) > place[:, None]
    scores = scores.masked_fill(later, -torch.inf)
    best = scores.masked_fill(~wanted, -torch.inf).logsumexp(1)
    found: Tensor = best - scores.logsumexp(1)
    return found


Seen = Sequence[tuple[Tensor, Tensor]]  # every layer's queries and keys [B,H,T,h]


def _places(ids: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, place) of every label in episodes [B,T], and of the token before it: [R,2] each."""
    at = F.pad(ids[:, 1:] == EOS, (0, 1)).nonzero()
    return at, at - torch.tensor([0, 1])


def guidance(ids: Tensor, seen: Seen) -> Tensor:
    """How far two layers are from the look-up: mean negative log attention.

    In layer COPIES, head 0, a label looks at the token before it. In layer FINDS, heads 0 and 1,
    the token before a label looks at earlier labels that are the same, where there are some. ids
    [B,T] of episodes.
    """
    at, before = _places(ids)
    labels = F.pad(ids[:, 1:] == EOS, (0, 1))
    places = torch.arange(ids.shape[1])
    query, key = seen[COPIES]
    copied = log_mass(query[:, 0], key[:, 0], at, places == before[:, 1:])
    batch, place = at.unbind(1)
    same = labels[batch] & (ids[batch] == ids[batch, place][:, None]) & (places < place[:, None])
    some = same.any(1)
    query, key = seen[FINDS]
    found = [log_mass(query[:, h], key[:, h], before[some], same[some]).mean() for h in (0, 1)]
    return -copied.mean() - torch.stack(found).mean()


def keeping_to_rows(ids: Tensor, seen: Seen) -> Tensor:
    """How much the token before a label looks past its own row: mean negative log attention.

    Over all heads of the layers up to EXIT. ids [B,T] of episodes, whose rows end in EOS.
    """
    _, before = _places(ids)
    batch, place = before.unbind(1)
    rows = F.pad((ids == EOS).cumsum(1), (1, 0))[:, :-1]
    own = rows[batch] == rows[batch, place][:, None]
    found = [
        log_mass(query[:, h], key[:, h], before, own).mean()
        for query, key in seen[: EXIT + 1]
        for h in range(query.shape[1])
    ]
    return -torch.stack(found).mean()


def _repeated(run: Run, ids: Tensor) -> Tensor:
    """Loss on what is read for the second time: ids [B,1+2 length]."""
    half = ids.shape[1] // 2
    last = training_forward(run.model, ids[:, :-1], attend)[:, half:]
    logits = run.model.lm_head(last).float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, half + 1 :].flatten())


def _losses(run: Run, recipe: Recipe) -> tuple[dict[str, Tensor], tuple[str, float] | None]:
    """The parts of the loss, and (family, accuracy on late targets) where there are any."""
    stage, early = run.stage, cast(Any, run.model.model).layer_norm
    batch = run.episodes.batch(stage)
    watching, trail = Watching(), list[Tensor]()
    states = training_forward(run.model, batch.ids, watching, trail)
    logits, goal, at = _on_labels(run, states, batch.targets)
    parts = {"labels": F.cross_entropy(logits.float(), goal)}
    hard = batch.late[:, 1:][at] != IGNORED
    right = None
    if hard.any():
        right = batch.family, (logits.argmax(-1) == goal)[hard].float().mean().item()
    if (batch.own != IGNORED).any():
        named, name, _ = _on_labels(run, early(trail[EXIT]), batch.own)
        parts["named"] = recipe.named * F.cross_entropy(named.float(), name)
        alone = (named.argmax(-1) == name).float().mean().item()
        key = f"{batch.family} alone"
        run.right[key] = 0.9 * run.right.get(key, alone) + 0.1 * alone
        if stage.guided:
            parts["guided"] = stage.guided * guidance(batch.ids, watching.seen)
        if stage.kept:
            parts["kept"] = stage.kept * keeping_to_rows(batch.ids, watching.seen)
    words_alone = set(stage.odds) == {"word"}
    share = 1.0 if words_alone else recipe.repeated
    parts["repeated"] = share * _repeated(run, run.episodes.repeated(24, 33))
    if words_alone:
        return parts, right
    single, own = run.episodes.direct(stage.direct, stage.crop)
    trail = []
    direct, direct_goal, _ = _on_labels(
        run, training_forward(run.model, single, attend, trail), own
    )
    named, name, _ = _on_labels(run, early(trail[EXIT]), own)
    parts["named alone"] = recipe.named * F.cross_entropy(named.float(), name)
    right_alone = (direct.argmax(-1) == direct_goal).float().mean().item()
    run.right["direct"] = 0.95 * run.right.get("direct", right_alone) + 0.05 * right_alone
    parts["direct"] = recipe.direct * F.cross_entropy(direct.float(), direct_goal)
    text = run.episodes.prose(6, 129)
    words = run.model.lm_head(training_forward(run.model, text[:, :-1], attend))
    parts["prose"] = recipe.prose * F.cross_entropy(
        words.float().flatten(0, 1), text[:, 1:].flatten()
    )
    return parts, right


def _step(run: Run, recipe: Recipe) -> dict[str, float]:
    """One step, all of whose draws come from (seed, step); the parts of the loss."""
    step, stage = int(run.state["step"]), run.stage
    run.episodes.rng = np.random.default_rng([recipe.seed, step])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts, right = _losses(run, recipe)
    run.optimiser.zero_grad()
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call] # untyped
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    within = step - int(run.state["began"])
    last = int(run.state["stage"]) == len(READER_STAGES) - 1
    decay = 1.0 - within / stage.steps if last else 1.0
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.rate * stage.rate * min(1.0, (step + 1) / 200) * max(decay, 0.02)
    run.optimiser.step()
    if right is not None:
        family, share = right
        run.state["running"] = 0.97 * run.state["running"] + 0.03 * share
        run.right[family] = 0.9 * run.right.get(family, share) + 0.1 * share
    run.state["step"] = step + 1
    return {name: round(x.item(), 3) for name, x in parts.items()}


def _is_over(run: Run) -> bool:
    within = int(run.state["step"]) - int(run.state["began"])
    return run.state["running"] > run.stage.threshold or 0 < run.stage.steps <= within


def _start(data: Path, out: Path, recipe: Recipe) -> Run:
    """A new run, or the one whose checkpoint lies in `out`."""
    texts = read_texts(data)
    tokenizer = build_tokenizer(texts)
    tokenizer.save_pretrained(out)
    model = build_model(
        len(tokenizer),
        torch.Generator().manual_seed(recipe.seed),
        width=WIDTH,
        ffn=4 * WIDTH,
        deviation=(2 * WIDTH) ** -0.5,
    )
    run = Run(
        model=model,
        optimiser=torch.optim.AdamW(
            model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01
        ),
        episodes=ReaderEpisodes(texts, tokenizer),
    )
    if (out / "checkpoint.pt").exists():
        saved = torch.load(out / "checkpoint.pt", weights_only=True)
        run.model.load_state_dict(saved["model"])
        run.optimiser.load_state_dict(saved["optimiser"])
        run.state, run.right = saved["state"], saved["right"]
    return run


def train(data: Path, out: Path, recipe: Recipe) -> None:
    """Train through all stages, from the last checkpoint in `out` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    run = _start(data, out, recipe)
    run.model.train()
    last = time.monotonic()
    while int(run.state["stage"]) < len(READER_STAGES):
        parts = _step(run, recipe)
        over = _is_over(run)
        if not (over or int(run.state["step"]) % EVERY == 0):
            continue
        run.state["seconds"] += time.monotonic() - last
        last = time.monotonic()
        line = {
            "step": int(run.state["step"]),
            "stage": int(run.state["stage"]),
            "loss": parts,
            "accuracy": round(run.state["running"], 3),
            "families": {k: round(x, 3) for k, x in sorted(run.right.items())},
            "seconds": round(run.state["seconds"]),
        }
        with (out / "training.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)
        if over:
            run.state.update(stage=run.state["stage"] + 1, began=run.state["step"], running=0.0)
        save(out, run.model, run.optimiser, state=run.state, right=run.right)
    made = asdict(recipe) | {
        "held_out": HELD_OUT,
        "steps": run.state["step"],
        "stages": list(map(asdict, READER_STAGES)),
    }
    (out / "recipe.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def main(
    data: Annotated[Path, typer.Option(help="Folder with the tasks and `corpus/`.")],
    out: Annotated[Path, typer.Option(help="Folder of the model; a run in it goes on.")],
    seed: Annotated[int, typer.Option(help="Seed of weights and episodes.")] = 0,
    rate: Annotated[float, typer.Option(help="Highest rate of Adam.")] = 2e-3,
    direct: Annotated[float, typer.Option(help="Weight of single rows under their labels.")] = 1.0,
    prose: Annotated[float, typer.Option(help="Weight of windows of books.")] = 0.1,
    repeated: Annotated[float, typer.Option(help="Weight of words read twice over.")] = 0.2,
    named: Annotated[float, typer.Option(help="Weight of naming the class early.")] = 1.0,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train the reader: a GPT of real English that learns in context, from scratch."""
    torch.set_num_threads(threads)
    recipe = Recipe(
        seed=seed, rate=rate, direct=direct, prose=prose, repeated=repeated, named=named
    )
    train(data, out, recipe)


if __name__ == "__main__":
    single(main)()
