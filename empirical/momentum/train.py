"""Train one model by the Trainer of transformers (accelerate underneath).

The first weights and the order of the windows follow from the seed alone, whatever the layer. A
run that was stopped goes on from its last checkpoint to the same weights.

`accelerate launch -m empirical.cli.train_momentum --scale paper --kind momentum --eta 0.9 --seed 1
--text DIR --out DIR` trains one model over several GPUs; `dualform momentum` with the same options
then goes on from its last checkpoint, which is the whole training, and measures it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XGLMConfig,
    XGLMForCausalLM,
)

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, write_text
from empirical.core.progress import SILENT, Advance, Reporter
from empirical.models.xglm import configuration
from empirical.momentum.adapt import adapt, parameters
from empirical.momentum.corpus import Windows
from empirical.momentum.perplexity import losses
from empirical.momentum.scales import Scale
from empirical.results.attention_kinds import Layer
from empirical.results.language_models import Equal

CHECKPOINTS = "checkpoints"
ASKED = "asked.json"  # what the checkpoints beside it are made of
MODELS = "models"  # folder of what is kept, and of checkpoints, by the name of the file
WATCHED = 32  # choosing windows, whose loss the curve shows


@dataclass(frozen=True, kw_only=True)
class Curves:
    """(step, loss) of training batches and of windows that were not trained on."""

    training: tuple[tuple[int, float], ...]
    held_out: tuple[tuple[int, float], ...]


def config_of(at: Scale) -> XGLMConfig:
    """The configuration of a scale."""
    config = configuration(
        at.vocabulary, width=at.width, ffn=at.ffn, layers=at.layers, heads=at.heads
    )
    config.use_cache = False
    return config


def initial(at: Scale, seed: int) -> XGLMForCausalLM:
    """First weights from the seed: Xavier's normal for matrices, N(0, 1/width) for embeddings."""
    model = XGLMForCausalLM(config_of(at))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                scale_of = at.width**-0.5 if "embed" in name else (2 / sum(weight.shape)) ** 0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale_of)
            else:
                weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return model


def weights_sha256(model: Any) -> str:
    """Of all parameters but learned etas, by name and in order."""
    digest = hashlib.sha256()
    for name, weight in parameters(model):
        digest.update(name.encode() + b"\0")
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def order(count: int, at: Scale, seed: int) -> NDArray[np.int64]:
    """Which of `count` windows every place of every batch holds: shuffled anew for each pass."""
    rng, wanted = np.random.default_rng(seed), at.rows * at.steps
    passes = [rng.permutation(count) for _ in range(-(-wanted // count))]
    return np.concatenate(passes)[:wanted]


def order_sha256(text: Windows, at: Scale, seed: int) -> str:
    """Of every token trained on, in its order."""
    digest = hashlib.sha256()
    for place in order(len(text.training), at, seed):
        digest.update(text.training[place].tobytes())
    return digest.hexdigest()


class _Ordered(Dataset[dict[str, Tensor]]):
    """Windows in training order."""

    def __init__(self, training: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        self.training, self.places = training, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": torch.from_numpy(self.training[self.places[i]])}


class _Trainer(Trainer):
    """The order is given; BOS is read and not predicted."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(cast(_Ordered, self.train_dataset))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        ids = inputs["input_ids"]
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return (loss, logits) if return_outputs else loss


class _Watch(TrainerCallback):
    """Progress, the loss on windows that choose eta, and a stop at a loss that is no number."""

    def __init__(self, at: Scale, text: Windows, advance: Advance) -> None:
        self.at, self.windows, self.advance = at, text.choosing[:WATCHED], advance
        self.moved = False  # whether a step was taken: what went wrong after it is no checkpoint

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count the step; measure now and then."""
        self.moved = True
        self.advance(1)
        if state.global_step % self.at.every == 0 or state.global_step == self.at.steps:
            found = float(np.mean(losses(more["model"], self.windows)))
            state.log_history.append({"step": state.global_step, "held_out": found})

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Stop at a loss that is no number.

        Raises:
            UserError: there.
        """
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise UserError(
                f"expected a finite loss at step {state.global_step}, got {loss}; the last "
                f"checkpoint is kept: lower the rate of the scale {self.at.name}"
            )


def arguments(at: Scale, seed: int, out: Path, rows: int, device: str) -> TrainingArguments:
    """What the Trainer is told; nothing is reported anywhere.

    Raises:
        UserError: for rows that do not divide the batch, or a GPU that is not the first.
    """
    shared = int(os.environ.get("WORLD_SIZE", "1"))
    if device not in ("cpu", "cuda", "cuda:0"):
        raise UserError(
            f"expected --device cpu or cuda for training, got {device}; choose the GPU with "
            f"CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')} before the command"
        )
    if at.rows % (rows * shared):
        raise UserError(
            f"expected rows at once that divide {at.rows} over {shared} processes, got {rows}; "
            "choose another number with --rows"
        )
    made = TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=at.steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=at.rows // (rows * shared),
        learning_rate=at.rate,
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"lr_end": 0.0},
        warmup_steps=at.warmup,
        adam_beta1=at.betas[0],
        adam_beta2=at.betas[1],
        adam_epsilon=at.epsilon,
        weight_decay=at.decay,
        max_grad_norm=at.clip,
        bf16=at.dtype == "bfloat16",
        use_cpu=device == "cpu",
        logging_steps=at.every,
        logging_nan_inf_filter=False,
        save_steps=at.save,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        ddp_find_unused_parameters=False,  # every kind uses every weight
        seed=seed,  # the Trainer sets torch's global seed; nothing here draws from it
        log_level="error",
    )
    if made.n_gpu > 1:  # without a launcher every GPU would get a batch of its own
        made._n_gpu = 1
    return made


def train(
    at: Scale,
    layer: Layer,
    seed: int,
    text: Windows,
    out: Path,
    *,
    device: str = "cpu",
    rows: int | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Any, Curves]:
    """A trained model and its curves; checkpoints are in `out`/checkpoints, the last is gone on.

    `rows` windows at once on a device; they have to divide the batch.

    Raises:
        UserError: for a loss that is no number, or a checkpoint that cannot be read.
        OSError: when the training itself cannot write.
        ValueError: from the training itself, as the next three.
        KeyError: as above.
        RuntimeError: as above, and out of memory.
        SafetensorError: as above.
    """
    model = adapt(initial(at, seed), layer)
    places = order(len(text.training), at, seed)
    with reporter.stage(f"{layer.name}, seed {seed}", at.steps) as advance:
        watch = _Watch(at, text, advance)
        trainer = _Trainer(
            model=model,
            args=arguments(at, seed, out, rows or at.rows, device),
            train_dataset=_Ordered(text.training, places),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        last = _last(out / CHECKPOINTS)
        advance(0 if last is None else int(last.name.rsplit("-", 1)[1]))
        try:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            if last is None or watch.moved or isinstance(error, torch.OutOfMemoryError):
                raise
            raise UserError(
                f"expected a whole checkpoint at {last}, got {type(error).__name__}: {error}; "
                "remove that folder and run the same command again"
            ) from error
    # accelerate's wrapper would go on reading in half precision
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return trained, _curves(trainer.state.log_history)


def equal_of(at: Scale, seed: int, text: Windows) -> Equal:
    """What the models of a seed share."""
    first = initial(at, seed)
    return Equal(
        parameters=sum(p.numel() for p in first.parameters()),
        steps=at.steps,
        tokens=at.tokens,
        initial_sha256=weights_sha256(first),
        order_sha256=order_sha256(text, at, seed),
        settings=at.settings(),
    )


def begin(at: Scale, layer: Layer, seed: int, text: Windows, folder: Path) -> Equal:
    """Note what a folder's checkpoints are made of.

    Raises:
        UserError: where they were made of another text or with other settings.
    """
    equal = equal_of(at, seed, text)
    note = dumps({"equal": equal, "layer": layer, "text_sha256": text.sha256})
    path = folder / ASKED
    if path.exists() and path.read_text(encoding="utf-8") != note:
        raise UserError(
            f"expected checkpoints of the same text and settings in {folder}, got others; write "
            "into another folder, or remove that one"
        )
    write_text(path, note)
    return equal


def _last(folder: Path) -> Path | None:
    found = [p for p in folder.glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def _curves(history: Sequence[dict[str, Any]]) -> Curves:
    def points(key: str) -> tuple[tuple[int, float], ...]:
        found = {int(x["step"]): float(x[key]) for x in history if key in x}
        return tuple(sorted(found.items()))

    return Curves(training=points("loss"), held_out=points("held_out"))
