"""Train the embedded GPT from scratch on generated episodes.

`python -m empirical.training.embedded --out DIR [--seed S] [--threads T]`. A curriculum of stages
(`empirical.training.episodes`): single words without template first, then template tokens around
them, then synonyms, several words, noise and longer episodes. A stage ends when the running
accuracy on the second half of the episodes, under the longest template it shows, passes its
threshold; the last one runs for a fixed number of steps with a decaying rate. A checkpoint is
written every 100 steps and an interrupted run goes on from it to the same bytes (on the same
machine). The folder that results loads with `transformers` (safetensors, own byte-level BPE).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
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
from empirical.core.json_files import replacing
from empirical.models.tokenizer import EOS, IGNORED, PAD
from empirical.models.xglm import configuration
from empirical.training.episodes import STAGES, Episodes, Stage, build_tokenizer

EVERY = 100  # steps between checkpoints and lines of the log


def build_model(
    vocabulary: int,
    generator: torch.Generator,
    *,
    width: int = 64,
    ffn: int = 128,
    deviation: float = 0.1,
) -> XGLMForCausalLM:
    """A miniature of the fairseq dense architecture: 4 layers, 4 heads.

    All draws come from `generator`: matrices ~ N(0, deviation²), embeddings ~ N(0, 1/width).
    """
    model = XGLMForCausalLM(configuration(vocabulary, width=width, ffn=ffn))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                std = width**-0.5 if "embed" in name else deviation
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            elif "norm" in name:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                weight.zero_()
    return model


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention by torch's fused kernel; [B, H, T, h] each."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def training_forward(
    model: XGLMForCausalLM,
    ids: Tensor,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor] = fused,
    trail: list[Tensor] | None = None,
) -> Tensor:
    """Final hidden states [B, T, d] of right-padded `ids` [B, T], with the model's own weights.

    The class computes eager attention with a dense mask; right padding needs none but the
    causal one, so fused attention gives the same states (at unpadded positions) and is two to
    three times faster. `trail` receives the residual stream [B, T, d] after every layer.
    """
    decoder = cast(Any, model.model)
    batch, length = ids.shape
    places = torch.arange(length, device=ids.device).expand(batch, length)
    x = decoder.embed_tokens(ids) + decoder.embed_positions(places, 0).detach()
    for layer in decoder.layers:
        attention = layer.self_attn
        normed = layer.self_attn_layer_norm(x)
        query, key, value = (
            project(normed).view(batch, length, attention.num_heads, -1).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        mixed = attend(query, key, value)
        x = x + attention.out_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
        if trail is not None:
            trail.append(x)
    return cast(Tensor, decoder.layer_norm(x))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run depends on."""

    seed: int
    rate: float
    prose_weight: float


@dataclass(kw_only=True)
class Run:
    """A run in progress: step counts, the running accuracy, seconds so far."""

    model: XGLMForCausalLM
    optimiser: torch.optim.Adam
    episodes: Episodes
    state: dict[str, float] = field(
        default_factory=lambda: {"step": 0, "stage": 0, "began": 0, "running": 0.0, "seconds": 0.0}
    )

    @property
    def stage(self) -> Stage:
        """The present stage."""
        return STAGES[int(self.state["stage"])]


def _text(ids: Tensor) -> Tensor:
    """Which of ids[:, 1:] are neither padding nor labels, which stand before EOS: [B, T-1]."""
    following = F.pad(ids[:, 2:], (0, 1), value=PAD)
    return (ids[:, 1:] != PAD) & (following != EOS)


def _losses(run: Run, recipe: Recipe) -> tuple[Tensor, Tensor, float | None]:
    """Loss on labels, the whole loss, and accuracy on hard targets (None without any)."""
    ids, targets, hard = run.episodes.batch(run.stage)
    goal = targets[:, 1:]
    at = goal != IGNORED
    states = training_forward(run.model, ids)[:, :-1]
    logits = run.model.lm_head(states[at])
    loss = F.cross_entropy(logits, goal[at])
    total = loss
    if run.stage.language:
        text = _text(ids)
        words = run.model.lm_head(states[text])
        total = total + run.stage.language * F.cross_entropy(words, ids[:, 1:][text])
    if run.stage.prose and recipe.prose_weight:
        text = run.episodes.prose(8, 65)
        words = run.model.lm_head(training_forward(run.model, text[:, :-1]))
        total = total + recipe.prose_weight * F.cross_entropy(
            words.flatten(0, 1), text[:, 1:].flatten()
        )
    late = hard[:, 1:][at] != IGNORED
    if not late.any():
        return loss, total, None
    return loss, total, (logits.argmax(-1) == goal[at])[late].float().mean().item()


def _step(run: Run, recipe: Recipe) -> float:
    """One step of Adam, all of whose draws come from (seed, step); the loss on labels."""
    step, stage = int(run.state["step"]), run.stage
    run.episodes.rng = np.random.default_rng([recipe.seed, step])
    loss, total, right = _losses(run, recipe)
    run.optimiser.zero_grad()
    total.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    within = step - int(run.state["began"])
    decay = 1.0 - within / stage.steps if stage.steps else 1.0
    for group in run.optimiser.param_groups:
        group["lr"] = recipe.rate * min(1.0, (step + 1) / 100) * max(decay, 0.02)
    run.optimiser.step()
    if right is not None:
        run.state["running"] = 0.97 * run.state["running"] + 0.03 * right
    run.state["step"] = step + 1
    return loss.item()


def _is_over(run: Run) -> bool:
    within = int(run.state["step"]) - int(run.state["began"])
    return run.state["running"] > run.stage.threshold or 0 < run.stage.steps <= within


def save(
    out: Path, model: XGLMForCausalLM, optimiser: torch.optim.Optimizer, **state: dict[str, float]
) -> None:
    """The checkpoint, written whole or not at all, and the model's folder."""
    saved = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), **state}
    with replacing(out / "checkpoint.pt", sync=False) as temporary:
        torch.save(saved, temporary)
    model.save_pretrained(out)


def _start(out: Path, recipe: Recipe) -> Run:
    """A new run, or the one whose checkpoint lies in `out`."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(out)
    model = build_model(len(tokenizer), torch.Generator().manual_seed(recipe.seed))
    run = Run(
        model=model,
        optimiser=torch.optim.Adam(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98)),
        episodes=Episodes(tokenizer, np.random.default_rng(recipe.seed)),
    )
    if (out / "checkpoint.pt").exists():
        saved = torch.load(out / "checkpoint.pt", weights_only=True)
        run.model.load_state_dict(saved["model"])
        run.optimiser.load_state_dict(saved["optimiser"])
        run.state = saved["state"]
    return run


def train(out: Path, recipe: Recipe) -> None:
    """Train through all stages, from the last checkpoint in `out` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    run = _start(out, recipe)
    run.model.train()
    last = time.monotonic()
    while int(run.state["stage"]) < len(STAGES):
        loss = _step(run, recipe)
        over = _is_over(run)
        if not (over or int(run.state["step"]) % EVERY == 0):
            continue
        run.state["seconds"] += time.monotonic() - last
        last = time.monotonic()
        line = {
            "step": int(run.state["step"]),
            "stage": int(run.state["stage"]),
            "loss": round(loss, 4),
            "accuracy": round(run.state["running"], 4),
            "seconds": round(run.state["seconds"]),
        }
        with (out / "training.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)
        if over:
            run.state.update(stage=run.state["stage"] + 1, began=run.state["step"], running=0.0)
        save(out, run.model, run.optimiser, state=run.state)
    made = asdict(recipe) | {"steps": run.state["step"], "stages": list(map(asdict, STAGES))}
    (out / "recipe.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the model; a run in it goes on.")],
    seed: Annotated[int, typer.Option(help="Seed of weights and episodes.")] = 0,
    rate: Annotated[float, typer.Option(help="Highest rate of Adam.")] = 3e-3,
    prose_weight: Annotated[float, typer.Option(help="Weight of the loss on prose.")] = 0.1,
    threads: Annotated[int, typer.Option(help="Threads of the arithmetic.")] = 1,
) -> None:
    """Train the embedded GPT from scratch on generated episodes."""
    torch.set_num_threads(threads)
    train(out, Recipe(seed=seed, rate=rate, prose_weight=prose_weight))


if __name__ == "__main__":
    single(main)()
