"""Train the embedded GPT from scratch on generated episodes.

`python -m empirical.train_embedded --out DIR [--seed S] [--threads T]`. A curriculum of
stages: single words and no template first, then template tokens around them one by one, then
synonyms, several words, noise and longer episodes. A stage ends when the running accuracy on
the second half of the episodes, with the longest template it shows, passes its threshold; the
last one runs for a fixed number of steps with a decaying rate. A checkpoint is written every
100 steps and an interrupted run goes on from it to the same bytes. The folder that results
loads with `transformers` (safetensors, own byte-level BPE).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, XGLMConfig, XGLMForCausalLM

from empirical.grammar import Shape, generate_prose, generate_rows
from empirical.tasks import TASKS

BOS, PAD, EOS, IGNORED = 0, 1, 2, -100
LABEL_WORDS = sorted({label for task in TASKS.values() for label in task.labels})
FULL = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the curriculum.

    A batch shows at most `trim` template tokens on each side of the input, `trim` drawn from
    `trims` (FULL is the whole template); `inputs` is the range of inputs an episode and
    `tokens` about the number of tokens a batch. The stage ends when the running accuracy
    exceeds `threshold`, or after `steps` steps where that is positive.
    """

    shape: Shape
    trims: tuple[int, ...]
    classes: int
    inputs: tuple[int, int] = (17, 17)
    tokens: int = 6000
    threshold: float = 2.0
    steps: int = 0
    prose: bool = False


STAGES = (
    Stage(shape=Shape(words=1, class_words=1, synonyms=1), trims=(0,), classes=2, threshold=0.9),
    Stage(shape=Shape(words=1, class_words=1, synonyms=1), trims=(0, 1), classes=2,
          threshold=0.9),
    Stage(shape=Shape(words=1, class_words=1, synonyms=1), trims=(0, 1, 2, 4), classes=3,
          threshold=0.85),
    Stage(shape=Shape(words=1, class_words=1, synonyms=2), trims=(1, 4, FULL), classes=3,
          threshold=0.85),
    Stage(shape=Shape(words=1, class_words=1), trims=(2, FULL, FULL), classes=5, threshold=0.75),
    Stage(shape=Shape(words=2, class_words=2), trims=(2, FULL, FULL, FULL), classes=5,
          threshold=0.75),
    Stage(shape=Shape(words=4, class_words=3), trims=(FULL,), classes=5, threshold=0.75),
    Stage(shape=Shape(), trims=(FULL,), classes=5, inputs=(8, 34), tokens=8000, steps=6000,
          prose=True),
)  # fmt: skip


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on generated text; label words with a leading space are single."""
    rng = np.random.default_rng(0)
    lines = [" " + " ".join(LABEL_WORDS)] * 200
    for name, task in TASKS.items():
        for row in generate_rows(name, 3000, rng):
            fields = {key: value for key, value in row.items() if key != "label"}
            lines.append(task.template.format(**fields) + " " + task.labels[int(row["label"])])
    lines += [generate_prose(rng) for _ in range(6000)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=2000,
            special_tokens=["<s>", "<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
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
        bos_token_id=BOS, pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=BOS,
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


def training_forward(model: XGLMForCausalLM, ids: Tensor) -> Tensor:
    """Final hidden states [B, T, d] of right-padded `ids` [B, T], with the model's own weights.

    The class computes eager attention with a dense mask; right padding needs none but the
    causal one, so fused attention gives the same states (at unpadded positions) and is two to
    three times faster.
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
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + attention.out_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
    return cast(Tensor, decoder.layer_norm(x))


class Episodes:
    """Draws batches of episodes as token ids [B, T] and label targets [B, T].

    A text's tokens are its words' tokens one after another, as the pre-tokeniser splits at
    spaces and punctuation; `tests/test_embedded.py` compares with the study's own packing.
    """

    GROUPS = (("sst2", "sst5", "mr", "subj"), ("agnews",), ("cb",))
    GROUP_ODDS = (0.6, 0.2, 0.2)

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> None:
        self.tokenizer, self.rng = tokenizer, rng
        self.pieces: dict[str, tuple[int, ...]] = {}
        self.labels = [self.encode(" " + word)[0] for word in LABEL_WORDS]

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, cached (only single words and template parts come here)."""
        if text not in self.pieces:
            self.pieces[text] = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        return self.pieces[text]

    def _words(self, words: Sequence[str]) -> list[int]:
        return [token for word in words for token in self.encode(" " + word)]

    def prompt(self, name: str, row: dict[str, str | int], trim: int) -> list[int]:
        """Tokens of one prompt with at most `trim` template tokens on either side."""
        template = TASKS[name].template
        field = "hypothesis" if name == "cb" else "sentence" if name == "sst2" else "text"
        before, after = template.split(" {" + field + "}")
        head: list[int] = []
        if name == "cb":
            first, *rest = str(row["premise"]).rstrip(".").split()
            head += [*self.encode(first), *self._words(rest), *self.encode(".")]
            before = before.removeprefix("{premise}")
            if trim < FULL:
                head += self.encode(before)
            else:
                before = "." + before
                head = [*self.encode(first), *self._words(rest), *self.encode(before)]
        else:
            head += self.encode(before)
        tail = self.encode(after)
        body = self._words(str(row[field]).split())
        if trim == 0:
            return body
        return [*head[-trim:], *body, *tail[-trim:]]

    def episode(self, stage: Stage, name: str, trim: int, n: int) -> tuple[list[int], list[int]]:
        """Ids and targets of one episode of `n` inputs.

        A target stands where the label's class has been shown before in the episode; where it
        has not, nothing could tell the label word.
        """
        own = [self.encode(" " + word)[0] for word in TASKS[name].labels]
        classes = self.rng.permutation(len(own))[: stage.classes]
        words = own
        if self.rng.random() >= 0.1:
            words = [self.labels[int(i)] for i in self.rng.permutation(len(self.labels))]
        ids, targets = [BOS], [IGNORED]
        seen: set[int] = set()
        for _ in range(n):
            label = int(classes[int(self.rng.integers(len(classes)))])
            row = generate_rows(name, 1, self.rng, stage.shape, label)[0]
            prompt = self.prompt(name, row, trim)
            ids += [*prompt, words[label], EOS]
            goal = words[label] if label in seen else IGNORED
            targets += [*[IGNORED] * len(prompt), goal, IGNORED]
            seen.add(label)
        return ids, targets

    def batch(self, stage: Stage) -> tuple[Tensor, Tensor, int]:
        """Right-padded ids and targets, and the trim of the batch."""
        group = self.GROUPS[int(self.rng.choice(len(self.GROUPS), p=self.GROUP_ODDS))]
        trim = stage.trims[int(self.rng.integers(len(stage.trims)))]
        low, high = stage.inputs
        n = int(self.rng.integers(low, high + 1))
        drawn = [self.episode(stage, group[0], trim, n)]
        count = max(8, stage.tokens // len(drawn[0][0]))
        for i in range(1, count):
            drawn.append(self.episode(stage, group[i % len(group)], trim, n))
        longest = max(len(ids) for ids, _ in drawn)
        ids = torch.tensor([i + [PAD] * (longest - len(i)) for i, _ in drawn])
        targets = torch.tensor([t + [IGNORED] * (longest - len(t)) for _, t in drawn])
        return ids, targets, trim

    def prose(self, rows: int, length: int) -> Tensor:
        """Plain generated sentences, ids [rows, length]."""
        drawn = []
        for _ in range(rows):
            ids = [BOS]
            while len(ids) < length:
                ids += self.encode_prose(generate_prose(self.rng))
                ids.append(EOS)
            drawn.append(ids[:length])
        return torch.tensor(drawn)

    def encode_prose(self, text: str) -> list[int]:
        """Token ids of one sentence, not cached."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _save(path: Path, saved: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(saved, temporary)
    os.replace(temporary, path)


def train(out: Path, seed: int, rate: float, prose_weight: float) -> None:
    """Train through all stages, from the last checkpoint in `out` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(out)
    model = build_model(len(tokenizer), torch.Generator().manual_seed(seed))
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.98))
    state: dict[str, float] = {"step": 0, "stage": 0, "began": 0, "running": 0.0, "seconds": 0.0}
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    episodes = Episodes(tokenizer, np.random.default_rng(seed))
    model.train()
    last = time.monotonic()
    while int(state["stage"]) < len(STAGES):
        step, stage = int(state["step"]), STAGES[int(state["stage"])]
        within = step - int(state["began"])
        episodes.rng = np.random.default_rng([seed, step])
        ids, targets, trim = episodes.batch(stage)
        goal = targets[:, 1:]
        at = goal != IGNORED
        logits = model.lm_head(training_forward(model, ids)[:, :-1][at])
        loss = F.cross_entropy(logits, goal[at])
        total = loss
        if stage.prose and prose_weight:
            text = episodes.prose(8, 65)
            words = model.lm_head(training_forward(model, text[:, :-1]))
            total = loss + prose_weight * F.cross_entropy(
                words.flatten(0, 1), text[:, 1:].flatten()
            )
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        decay = 1.0 - within / stage.steps if stage.steps else 1.0
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * max(decay, 0.02)
        optimiser.step()
        if trim == max(stage.trims):
            late = at.clone()
            late[:, : at.shape[1] // 2] = False
            right = (logits.argmax(-1) == goal[at])[late[at]].float().mean().item()
            state["running"] = 0.97 * state["running"] + 0.03 * right
        state["step"] = step + 1
        over = state["running"] > stage.threshold or (stage.steps and within + 1 >= stage.steps)
        if over or (step + 1) % 100 == 0:
            state["seconds"] += time.monotonic() - last
            last = time.monotonic()
            line = {"step": step + 1, "stage": int(state["stage"]), "loss": round(loss.item(), 4),
                    "accuracy": round(state["running"], 4),
                    "seconds": round(state["seconds"])}  # fmt: skip
            with (out / "training.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        if over:
            state.update(stage=state["stage"] + 1, began=step + 1, running=0.0)
        if over or (step + 1) % 100 == 0:
            _save(checkpoint, {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
                               "state": state})  # fmt: skip
            model.save_pretrained(out)
    recipe = {"seed": seed, "rate": rate, "prose_weight": prose_weight, "steps": state["step"],
              "stages": [asdict(stage) for stage in STAGES]}  # fmt: skip
    (out / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--prose-weight", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.out, options.seed, options.rate, options.prose_weight)


if __name__ == "__main__":
    main()
