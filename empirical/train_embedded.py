"""Train the embedded GPT from scratch on generated episodes.

`python -m empirical.train_embedded --out DIR --steps N [--threads T]`. A curriculum of four
stages; the next begins when the running accuracy on the query half of the episodes passes a
threshold. A checkpoint is written every 100 steps and an interrupted run goes on from it.
The folder that results loads with `transformers` (safetensors, own byte-level BPE).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, XGLMConfig, XGLMForCausalLM

from empirical.grammar import LEXICON, Shape, generate_rows
from empirical.tasks import TASKS

LABEL_WORDS = sorted({label for task in TASKS.values() for label in task.labels})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the curriculum: text shape, template or not, inputs an episode, episodes."""

    shape: Shape
    template: bool
    classes: int
    inputs: int
    episodes: int
    threshold: float


STAGES = (
    Stage(shape=Shape(words=1, class_words=1, synonyms=1), template=False, classes=2, inputs=17,
          episodes=64, threshold=0.9),
    Stage(shape=Shape(words=1, class_words=1, synonyms=6), template=False, classes=5, inputs=17,
          episodes=64, threshold=0.8),
    Stage(shape=Shape(words=2, class_words=2), template=True, classes=5, inputs=17, episodes=16,
          threshold=0.8),
    Stage(shape=Shape(), template=True, classes=5, inputs=17, episodes=16, threshold=2.0),
)  # fmt: skip


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on generated prose; label words with a leading space are single."""
    rng = np.random.default_rng(0)
    lines = [" " + " ".join(LABEL_WORDS)] * 200
    for name, task in TASKS.items():
        for row in generate_rows(name, 3000, rng):
            fields = {key: value for key, value in row.items() if key != "label"}
            lines.append(task.template.format(**fields) + " " + task.labels[int(row["label"])])
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=1500,
            special_tokens=["<s>", "<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", pad_token="<pad>", eos_token="</s>"
    )


def build_model(vocabulary: int, generator: torch.Generator) -> XGLMForCausalLM:
    """A miniature of the fairseq dense architecture, matrices ~ N(0, 0.1²) from `generator`."""
    config = XGLMConfig(
        vocab_size=vocabulary, d_model=64, ffn_dim=128, num_layers=3, attention_heads=4,
        max_position_embeddings=2048, activation_function="gelu", scale_embedding=True,
        dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, layerdrop=0.0,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    model = XGLMForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                std = 64**-0.5 if "embed" in name else 0.1
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            elif "norm" in name:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                weight.zero_()
    return model


class Episodes:
    """Draws batches of episodes as token ids [B, T] and label targets [B, T] (-100 elsewhere)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> None:
        self.tokenizer, self.rng = tokenizer, rng
        self.pieces: dict[str, list[int]] = {}
        self.labels = [self.encode(" " + word)[0] for word in LABEL_WORDS]

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, cached."""
        if text not in self.pieces:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            if len(self.pieces) > 200_000:
                return list(ids)
            self.pieces[text] = list(ids)
        return self.pieces[text]

    def episode(self, stage: Stage) -> tuple[list[int], list[int]]:
        """Ids and targets of one episode."""
        name = list(LEXICON)[int(self.rng.integers(len(LEXICON)))]
        task = TASKS[name]
        classes = min(stage.classes, len(task.labels))
        own = [self.encode(" " + word)[0] for word in task.labels]
        if self.rng.random() < 0.1:
            words = own
        else:
            words = [self.labels[int(i)] for i in self.rng.permutation(len(self.labels))]
        ids, targets = [0], [-100]
        rows = generate_rows(name, stage.inputs, self.rng, stage.shape)
        for row in rows:
            label = int(row["label"]) % classes
            if label != row["label"]:
                row = generate_rows(name, 1, self.rng, stage.shape)[0]
                label = int(row["label"])
                if label >= classes:
                    continue
            fields = {key: str(value) for key, value in row.items() if key != "label"}
            text = task.template.format(**fields) if stage.template else " " + fields.get(
                "text", fields.get("sentence", fields.get("hypothesis", "")))  # fmt: skip
            prompt = self.encode(text)
            ids += [*prompt, words[label], 2]
            targets += [*[-100] * len(prompt), words[label], -100]
        return ids, targets

    def batch(self, stage: Stage) -> tuple[torch.Tensor, torch.Tensor]:
        """A padded batch."""
        drawn = [self.episode(stage) for _ in range(stage.episodes)]
        longest = max(len(ids) for ids, _ in drawn)
        ids = torch.tensor([i + [1] * (longest - len(i)) for i, _ in drawn])
        targets = torch.tensor([t + [-100] * (longest - len(t)) for _, t in drawn])
        return ids, targets


def train(out: Path, steps: int, seed: int, rate: float, words_weight: float) -> None:
    """Train to `steps` in all, from the last checkpoint in `out` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(out)
    model = build_model(len(tokenizer), torch.Generator().manual_seed(seed))
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.98))
    state = {"step": 0, "stage": 0, "running": 0.0}
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    episodes = Episodes(tokenizer, np.random.default_rng(seed))
    model.train()
    start = time.time()
    while state["step"] < steps:
        step = int(state["step"])
        stage = STAGES[int(state["stage"])]
        episodes.rng = np.random.default_rng([seed, step])
        ids, targets = episodes.batch(stage)
        hidden = model.model(input_ids=ids, use_cache=False)[0][:, :-1]
        goal = targets[:, 1:]
        at = goal != -100
        logits = model.lm_head(hidden[at])
        loss = torch.nn.functional.cross_entropy(logits, goal[at])
        if words_weight and stage.template:
            follow = ids[:, 1:].masked_fill((ids[:, 1:] == 1) | at, -100)
            some = torch.zeros_like(at)
            some[:2] = True
            pick = some & (follow != -100)
            prose = torch.nn.functional.cross_entropy(model.lm_head(hidden[pick]), follow[pick])
            loss = loss + words_weight * prose
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100)
        optimiser.step()
        half = at.clone()
        half[:, : at.shape[1] // 2] = False
        right = (logits.argmax(-1) == goal[at])[half[at]].float().mean().item()
        state["running"] = 0.98 * state["running"] + 0.02 * right
        state["step"] = step + 1
        if state["running"] > stage.threshold:
            state["stage"], state["running"] = int(state["stage"]) + 1, 0.0
        if (step + 1) % 100 == 0:
            line = {"step": step + 1, "stage": int(state["stage"]), "loss": loss.item(),
                    "accuracy": state["running"], "seconds": int(time.time() - start)}  # fmt: skip
            with (out / "training.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            saved = {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
                     "state": state}  # fmt: skip
            torch.save(saved, out / "checkpoint.tmp")
            os.replace(out / "checkpoint.tmp", checkpoint)
            model.save_pretrained(out)
    recipe = {"seed": seed, "steps": steps, "rate": rate, "stages": [asdict(s) for s in STAGES]}
    (out / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--words-weight", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.out, options.steps, options.seed, options.rate, options.words_weight)


if __name__ == "__main__":
    main()
