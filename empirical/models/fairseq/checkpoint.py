"""Tensors and settings of a fairseq `model.pt`, read without running anything in it, and checked.

The decoder is fairseq's `transformer_lm`: pre-LN, exact GELU, embeddings scaled by sqrt(d),
sinusoidal positions from 2 on, tied output. Names are those that fairseq writes
(facebookresearch/fairseq: models/transformer_lm.py, models/transformer/transformer_decoder.py).
Letters: V rows of the dictionary, d width, f inner width.
"""

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from empirical.core.errors import UserError

POSITIONS = 2048  # of the published models, where the file holds no settings
EMBEDDING, OUTPUT = "decoder.embed_tokens.weight", "decoder.output_projection.weight"
NO_WEIGHTS = {OUTPUT, "decoder.version", "decoder.embed_positions._float_tensor"}
# Float32 holds every value of these types: nothing is lost on the way.
NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# Settings that leave no trace in the tensors, and what the converted model computes.
SETTINGS = {
    "activation_fn": "gelu",
    "no_scale_embedding": False,
    "no_token_positional_embeddings": False,
    "decoder_learned_pos": False,
}
ONLY = "only fairseq's dense language models (arXiv 2112.10684) are converted"
DAMAGED = "the file is damaged, fetch it again"
_UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    EOFError,
    UnpicklingError,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors by fairseq's names, and the settings saved with them (none beside bare tensors)."""

    path: Path
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Layers, width d, inner width f, rows V, heads and positions of a checkpoint."""

    layers: int
    width: int
    ffn: int
    rows: int
    heads: int
    positions: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight by its name after `decoder.` (`model.` in transformers)."""
        d, f = self.width, self.ffn
        block: dict[str, tuple[int, ...]] = {f"self_attn.{p}_proj": (d, d) for p in "kvq"}
        block |= {"self_attn.out_proj": (d, d), "self_attn_layer_norm": (d,)}
        block |= {"fc1": (f, d), "fc2": (d, f), "final_layer_norm": (d,)}
        modules = {f"layers.{i}.{m}": s for i in range(self.layers) for m, s in block.items()}
        shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (self.rows, d)}
        for module, shape in (modules | {"layer_norm": (d,)}).items():
            shapes |= {f"{module}.weight": shape, f"{module}.bias": shape[:1]}
        return shapes


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors and settings of a `model.pt`, or of a file that holds the tensors alone.

    Pickles are read with `weights_only=True`, which lets through tensors, plain values and, here,
    argparse's Namespace: it holds values and runs nothing, and older files keep settings in it.

    Raises:
        UserError: for another file, or one that holds other objects.
    """
    path = Path(path)
    try:
        with torch.serialization.safe_globals([Namespace]):
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except _UNREADABLE as error:
        raise UserError(_unreadable(path, error)) from error
    held = saved.get("model", saved) if isinstance(saved, dict) else saved
    if not isinstance(held, dict) or not held or not all(map(torch.is_tensor, held.values())):
        raise UserError(
            f"expected tensors by name, alone or as `model`, in {path}, got another "
            f"{type(held).__name__}; pass the model.pt of a fairseq language model"
        )
    return Checkpoint(path=path, tensors=held, settings=_settings(saved))


def _unreadable(path: Path, error: Exception) -> str:
    """What to do about a file that `torch.load` refused."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is None:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return (
            f"expected a file written by torch.save at {path}, got {type(error).__name__}: "
            f"{reason}; correct the path or fetch the file again"
        )
    return (
        f"expected tensors and plain settings in {path}, got a pickled {found[1]}, which is not "
        "loaded because loading it can run code; in a container without network that has torch and "
        'the package of that name, run `python -c "import torch; torch.save(torch.load('
        f"'{path.name}', map_location='cpu', weights_only=False)['model'], 'state.pt')\"`, then "
        "convert state.pt with --heads N"
    )


def _settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `args` (older files), and of task and model in `cfg`, the model's last."""

    def plain(part: Any) -> dict[str, Any]:
        values = vars(part) if isinstance(part, Namespace) else part
        return dict(values) if isinstance(values, dict) else {}

    cfg = plain(saved.get("cfg"))
    parts = [plain(p) for p in (saved.get("args"), cfg.get("task"), cfg.get("model"))]
    return {k: v for part in parts for k, v in part.items() if v is not None}


def sizes_of(checkpoint: Checkpoint, heads: int | None = None) -> Sizes:
    """The sizes of a checkpoint whose every tensor is the one that fairseq's decoder has.

    Raises:
        UserError: for a tensor that is missing, not known, of another shape or type, or not finite;
            for an output apart from the embedding; for settings that the converted model does not
            compute; without a count of heads, or with one that does not fit.
    """
    path, held, settings = checkpoint.path, checkpoint.tensors, checkpoint.settings
    for key, value in SETTINGS.items():
        if settings.get(key, value) != value:
            got = settings[key]
            raise UserError(f"expected {key} {value!r} in {path}, got {got!r}; {ONLY}")
    rows, width = _matrix(checkpoint, EMBEDDING)
    ffn, _ = _matrix(checkpoint, "decoder.layers.0.fc1.weight")
    layers = 1 + max(int(m[1]) for k in held if (m := re.match(r"decoder\.layers\.(\d+)\.", k)))
    if settings.get("decoder_layers", layers) != layers:
        raise UserError(
            f"expected the {settings['decoder_layers']} layers of its settings in {path}, got "
            f"{layers}; the file is incomplete, fetch it again"
        )
    sizes = Sizes(
        layers=layers,
        width=width,
        ffn=ffn,
        rows=rows,
        heads=_heads(checkpoint, heads, width),
        positions=_positions(checkpoint),
    )
    _check_shapes(checkpoint, sizes.shapes)
    _check_values(checkpoint, [*(f"decoder.{name}" for name in sizes.shapes), OUTPUT])
    return sizes


def _matrix(checkpoint: Checkpoint, name: str) -> tuple[int, int]:
    """The shape of a matrix that gives the sizes of all others.

    Raises:
        UserError: when it is missing or no matrix.
    """
    tensor = checkpoint.tensors.get(name)
    if tensor is None or tensor.dim() != 2:
        got = "none" if tensor is None else f"shape {tuple(tensor.shape)}"
        raise UserError(
            f"expected a matrix {name} in {checkpoint.path}, got {got}; "
            "pass the model.pt of a fairseq language model"
        )
    return tensor.shape[0], tensor.shape[1]


def _heads(checkpoint: Checkpoint, asked: int | None, width: int) -> int:
    """The count of heads, which no shape shows.

    Raises:
        UserError: without one, with two that differ, or one that does not divide the width.
    """
    path, saved = checkpoint.path, checkpoint.settings.get("decoder_attention_heads")
    heads = saved if asked is None else asked
    if heads is None:
        raise UserError(
            f"expected the number of attention heads, got no settings in {path}; "
            "pass --heads N (32 for the 1.3B and the 2.7B model)"
        )
    if saved not in (None, heads):
        raise UserError(
            f"expected the {saved} attention heads of the settings in {path}, got {heads}; "
            "leave --heads away"
        )
    if type(heads) is not int or heads < 1 or width % heads:
        raise UserError(
            f"expected a number of attention heads that divides the width {width} of {path}, got "
            f"{heads!r}; pass --heads N"
        )
    return heads


def _positions(checkpoint: Checkpoint) -> int:
    """The length of the longest sequence, which no shape shows either.

    Raises:
        UserError: when the settings hold another thing than a positive integer.
    """
    settings = checkpoint.settings
    found = settings.get("max_target_positions", settings.get("tokens_per_sample", POSITIONS))
    if type(found) is not int or found < 1:
        raise UserError(
            f"expected a positive max_target_positions in {checkpoint.path}, got {found!r}; "
            f"{DAMAGED}"
        )
    return found


def _check_shapes(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless the weights are those of `shapes` and no others.

    Raises:
        UserError: naming the first that is missing, not known, or of another shape.
    """
    path, held = checkpoint.path, checkpoint.tensors
    missing = [name for name in shapes if f"decoder.{name}" not in held]
    if missing:
        raise UserError(
            f"expected every weight of the decoder in {path}, got none for {len(missing)} tensors "
            f"(decoder.{missing[0]} first); the file is incomplete, fetch it again"
        )
    unknown = sorted(set(held) - {f"decoder.{name}" for name in shapes} - NO_WEIGHTS)
    if unknown:
        raise UserError(f"expected a dense decoder's weights in {path}, got {unknown[0]}; {ONLY}")
    for name, shape in shapes.items():
        got = tuple(held[f"decoder.{name}"].shape)
        if got != shape:
            raise UserError(
                f"expected shape {shape} for decoder.{name} in {path}, got {got}; {DAMAGED}"
            )


def _check_values(checkpoint: Checkpoint, names: list[str]) -> None:
    """Raise unless float32 holds all values, they are finite, and the output is the embedding.

    Raises:
        UserError: otherwise.
    """
    path, held = checkpoint.path, checkpoint.tensors
    for name in filter(held.__contains__, names):
        if held[name].dtype not in NARROW.values():
            raise UserError(
                f"expected {', '.join(NARROW)} for {name} in {path}, got {held[name].dtype}; "
                "float32 would not keep its values"
            )
        bad = int((~torch.isfinite(held[name])).sum())
        if bad:
            raise UserError(
                f"expected finite weights in {path}, got {bad} non-finite values in {name}; "
                f"{DAMAGED}"
            )
    if OUTPUT in held and not torch.equal(held[OUTPUT], held[EMBEDDING]):
        raise UserError(
            f"expected {OUTPUT} equal to {EMBEDDING} in {path}, got other values; {ONLY}"
        )
