"""fairseq's own files of a dense language model -> a folder that `models.loading` reads."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import XGLMConfig

from empirical.core.errors import UserError
from empirical.core.json_files import dumps, replacing, write_text
from empirical.models.fairseq.checkpoint import (
    EMBEDDING,
    Checkpoint,
    Sizes,
    read_checkpoint,
    sizes_of,
)
from empirical.models.fairseq.vocabulary import Vocabulary, read_vocabulary

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
BYTES = 4  # of a float32 value


def convert(
    checkpoint: Path,
    dictionary: Path,
    bpe: Path,
    out: Path,
    *,
    heads: int | None = None,
    shard_size: str = "2GB",
) -> Path:
    """Write the model in fairseq's `model.pt` and `dict.txt` as the folder `out`.

    `bpe` is the folder of the GPT-2 BPE; `heads` is for files without settings. The weights are
    kept in float32, in files of `shard_size` at most (a larger tensor has one of its own). `out`
    appears whole or not at all.

    Raises:
        UserError: for files that are not those of one dense language model, or an `out` that exists
            or cannot be written.
    """
    limit = size_in_bytes(shard_size)
    if os.path.lexists(out):
        raise UserError(
            f"expected a new folder at {out}, got one that exists; name another or remove it"
        )
    words = read_vocabulary(dictionary, bpe)
    saved = read_checkpoint(checkpoint)
    sizes = sizes_of(saved, heads)
    if len(words.rows) != sizes.rows:
        raise UserError(
            f"expected {sizes.rows} symbols, one for each row of {EMBEDDING}, in {dictionary} with "
            f"fairseq's special ones, got {len(words.rows)}; "
            "pass the dict.txt that came with the model"
        )
    with _whole(Path(out)) as folder:
        _write_weights(saved, sizes, words, folder, limit)
        _write_rest(sizes, words, folder)
    return Path(out)


def run_convert(
    checkpoint: Path,
    dictionary: Path,
    bpe: Path,
    out: Path,
    heads: int | None = None,
    shard_size: str = "2GB",
) -> str:
    """As `convert`, for the command line: a line that says what may be run now.

    Raises:
        UserError: see `convert`.
    """
    folder = convert(checkpoint, dictionary, bpe, out, heads=heads, shard_size=shard_size)
    return f"converted to {folder}, weights in float32; now run `dualform check {folder}`"


def size_in_bytes(text: str) -> int:
    """Bytes of a size like 500MB or 2GB (10^6 and 10^9).

    Raises:
        UserError: for another text.
    """
    found = re.fullmatch(r"([1-9][0-9]*)(KB|MB|GB)", text)
    if found is None:
        raise UserError(f"expected a shard size like 500MB, got {text!r}; for example 2GB")
    return int(found[1]) * UNITS[found[2]]


def _shards(shapes: Mapping[str, tuple[int, ...]], limit: int) -> list[list[str]]:
    """Names in order, cut before a shard's float32 values would exceed `limit` bytes."""
    shards: list[list[str]] = []
    room = 0
    for name, shape in shapes.items():
        size = BYTES * torch.Size(shape).numel()
        if size > room or not shards:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _float32(checkpoint: Checkpoint, name: str, words: Vocabulary) -> Tensor:
    """A weight of its own in float32, the rows of the embedding in the tokenizer's order."""
    tensor = checkpoint.tensors[f"decoder.{name}"].detach()
    if f"decoder.{name}" == EMBEDDING:
        tensor = tensor[list(words.rows)]
    return tensor.to(torch.float32, copy=True).contiguous()


def _write_weights(
    checkpoint: Checkpoint, sizes: Sizes, words: Vocabulary, folder: Path, limit: int
) -> None:
    """The weights under transformers' names, one shard in memory at a time."""
    shards = _shards(sizes.shapes, limit)
    index: dict[str, str] = {}
    for i, names in enumerate(shards, 1):
        shard = f"model-{i:05}-of-{len(shards):05}.safetensors"
        file = shard if len(shards) > 1 else "model.safetensors"
        kept = {f"model.{name}": _float32(checkpoint, name, words) for name in names}
        save_file(kept, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(kept, file)
    if len(shards) > 1:
        total = sum(BYTES * torch.Size(shape).numel() for shape in sizes.shapes.values())
        value = {"metadata": {"total_size": total}, "weight_map": index}
        write_text(folder / "model.safetensors.index.json", dumps(value))


def _write_rest(sizes: Sizes, words: Vocabulary, folder: Path) -> None:
    """config.json, tokenizer.json and tokenizer_config.json.

    There is no padding token: transformers zeroes the sinusoids of the position it numbers.
    """
    words.tokenizer.save(str(folder / "tokenizer.json"))
    about = {"model_max_length": sizes.positions, "tokenizer_class": "PreTrainedTokenizerFast"}
    write_text(folder / "tokenizer_config.json", dumps(about))
    config = XGLMConfig(
        architectures=["XGLMForCausalLM"],
        dtype="float32",
        vocab_size=sizes.rows,
        max_position_embeddings=sizes.positions,
        d_model=sizes.width,
        ffn_dim=sizes.ffn,
        num_layers=sizes.layers,
        attention_heads=sizes.heads,
        activation_function="gelu",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        scale_embedding=True,
        tie_word_embeddings=True,
        bos_token_id=words.bos,
        eos_token_id=words.eos,
        decoder_start_token_id=words.eos,
        pad_token_id=None,
    )
    config.to_json_file(folder / "config.json", use_diff=False)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out` on leaving; an exception removes it.

    Raises:
        UserError: when it cannot be written.
    """
    try:
        with replacing(out) as temporary:
            temporary.mkdir()
            yield temporary
            temporary.chmod(0o755)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"expected a folder that can be written at {out}, got: {error}; name another one"
        ) from error
