"""The published checkpoints' files, written here at a reduced size, load as what they are.

The layout is that of KoboldAI/fairseq-dense-1.3B and -2.7B: XGLMForCausalLM in float16, GPT-2's BPE
first, then <s> <pad> </s> <unk>. The originals are not read here: see docs/checkpoints.md.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dualform.rounding import check
from empirical.core.errors import UserError
from empirical.models.loading import load
from tests.support.models import fairseq as fs
from tests.support.models.tiny_models import tokenizer

FORMATS = ("safetensors", "sharded", "bin")
TEXT = " Review: x zero Positive Label: one"


def configuration(n: int) -> dict[str, Any]:
    """config.json with every key that XGLM's had in 2022; sizes reduced, n tokens in the BPE."""
    return {
        "_name_or_path": "fairseq-dense-1.3B", "activation_dropout": 0.0,
        "activation_function": "gelu", "architectures": ["XGLMForCausalLM"],
        "attention_dropout": 0.1, "attention_heads": fs.HEADS, "bos_token_id": n, "d_model": fs.D,
        "decoder_start_token_id": 2, "dropout": 0.1, "eos_token_id": n + 2, "ffn_dim": fs.F,
        "init_std": 0.02, "layerdrop": 0.0, "max_position_embeddings": 2048, "model_type": "xglm",
        "newlinemode": "s", "num_layers": fs.LAYERS, "pad_token_id": 1, "scale_embedding": True,
        "tokenizer_class": "GPT2Tokenizer", "torch_dtype": "float16",
        "transformers_version": "4.17.0.dev0", "use_cache": True, "vocab_size": n + 4,
    }  # fmt: skip


def size() -> int:
    """n of the small BPE that stands for GPT-2's 50257."""
    return len(fs.bpe_tokens())


def weights() -> dict[str, Tensor]:
    """float16 tensors by the names of transformers, the output stored beside the embedding."""
    state = {k.replace("decoder.", "model.", 1): v for k, v in fs.tensors().items()}
    for name in ("model.version", "model.output_projection.weight",
                 "model.embed_positions._float_tensor"):  # fmt: skip
        del state[name]
    state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][: size() + 4].clone()
    return state | {"lm_head.weight": state["model.embed_tokens.weight"].clone()}


def write_weights(folder: Path, layout: str, state: dict[str, Tensor]) -> None:
    """The weights in one of the three layouts that copies of these models have."""
    if layout == "bin":
        torch.save(state, folder / "pytorch_model.bin")
        return
    if layout == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(state)
    index = {}
    for i in (1, 2, 3):
        part = {name: state[name] for name in names[i - 1 :: 3]}
        save_file(part, folder / f"model-0000{i}-of-00003.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(part, f"model-0000{i}-of-00003.safetensors")
    value = {"metadata": {"total_size": 2 * sum(map(torch.numel, state.values()))}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(value | {"weight_map": index}))


def write_tokenizer(folder: Path, as_json: bool) -> None:
    """The BPE as `tokenizer.json` with the special tokens added, or as GPT-2's own files."""
    added = {token: size() + i for i, token in enumerate(("<s>", "<pad>", "</s>", "<unk>"))}
    fs.save_bpe(folder / "bpe")
    if as_json:
        from tokenizers import ByteLevelBPETokenizer

        files = (str(folder / "bpe" / name) for name in ("vocab.json", "merges.txt"))
        made = ByteLevelBPETokenizer(*files, add_prefix_space=False)
        made.add_special_tokens(list(added))
        made.save(str(folder / "tokenizer.json"))
    else:
        (folder / "added_tokens.json").write_text(json.dumps(added))
        for name in ("vocab.json", "merges.txt"):
            (folder / "bpe" / name).rename(folder / name)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    about = special | {"add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def published(
    folder: Path, layout: str = "safetensors", as_json: bool = True,
    state: dict[str, Tensor] | None = None, **changed: object,
) -> Path:  # fmt: skip
    """A folder like those on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(configuration(size()) | changed))
    write_weights(folder, layout, weights() if state is None else state)
    write_tokenizer(folder, as_json)
    return folder


def ids() -> list[int]:
    """<s>, some text, </s>, more text."""
    text = [i for i in tokenizer().encode(TEXT).ids if i < size()]
    return [size(), *text[:7], size() + 2, *text[7:10]]


@pytest.mark.parametrize("as_json", [True, False], ids=["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("layout", FORMATS)
def test_every_layout_loads_in_float32_with_equal_weights(
    tmp_path: Path, layout: str, as_json: bool
) -> None:
    model, state = load(str(published(tmp_path, layout, as_json))), weights()
    for name, value in model.model.named_parameters():
        assert value.dtype == torch.float32 and torch.equal(value, state[name].float()), name
    assert model.model.lm_head.weight is model.model.model.embed_tokens.weight
    assert (model.n_layers, model.n_heads, model.width) == (fs.LAYERS, fs.HEADS, fs.D)
    assert model.max_length == 2048 and not model.model.training
    assert model.encoder.encode(TEXT) == tokenizer().encode(TEXT).ids


@pytest.mark.parametrize("layout", FORMATS)
def test_bos_and_eos_are_the_configurations_and_no_constant(tmp_path: Path, layout: str) -> None:
    model = load(str(published(tmp_path, layout)))
    assert (model.encoder.bos, model.encoder.eos) == (size(), size() + 2)
    names = [model.encoder.tokenizer.id_to_token(i) for i in (0, 2, size(), size() + 2)]
    assert names[2:] == ["<s>", "</s>"] and not set(names[:2]) & {"<s>", "</s>"}
    text = ids()[1:8]
    ours, constants = fs.logits(model, [model.encoder.bos, *text]), fs.logits(model, [0, *text])
    assert float((ours[-1] - constants[-1]).abs().max()) > 0.01


@pytest.mark.parametrize("stored", [False, True], ids=["no table", "a table in float16"])
def test_the_copy_computes_fairseqs_decoder(tmp_path: Path, stored: bool) -> None:
    """Sinusoids are computed, also where the file holds a table: float16 would round them."""
    state = weights()
    if stored:
        state["model.embed_positions.weights"] = fs.sinusoids(0, 2050, fs.D).half()
    model = load(str(published(tmp_path, state=state)), dtype=torch.float64)
    theirs = {k.replace("model.", "decoder.", 1): v for k, v in state.items()}
    want = fs.reference(theirs, ids())
    assert check(want, want.elsewhere(fs.logits(model, ids()))).nontrivial


def on_the_hub(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `name` in a cache of the hub, which is all that can be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    return place / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("as_json", [True, False], ids=["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("layout", FORMATS)
def test_the_hubs_name_loads_from_its_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, as_json: bool
) -> None:
    name = "KoboldAI/fairseq-dense-1.3B"
    published(on_the_hub(tmp_path / "hub", name, monkeypatch), layout, as_json)
    model, here = load(name), load(str(published(tmp_path / "here")))
    assert torch.equal(fs.logits(model, ids()), fs.logits(here, ids()))
    assert (model.encoder.bos, model.encoder.eos) == (size(), size() + 2)
    assert model.encoder.encode(TEXT) == tokenizer().encode(TEXT).ids


def refusal(folder: Path) -> str:
    """The one line that loading ends with."""
    with pytest.raises(UserError) as caught:
        load(str(folder))
    line = str(caught.value)
    assert line.startswith("expected ") and ", got" in line and ";" in line and "\n" not in line
    return line


SECOND = "model-00002-of-00003.safetensors"


def test_a_missing_and_a_truncated_shard_are_named(tmp_path: Path) -> None:
    shard = published(tmp_path, "sharded") / SECOND
    whole = shard.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1, 100, 4, 0):
        shard.write_bytes(whole[:cut])
        assert f"expected a readable local model at '{tmp_path}', got " in refusal(tmp_path)
    shard.unlink()
    assert SECOND in refusal(tmp_path)


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path: Path, layout: str, part: float) -> None:
    published(tmp_path, layout)
    file = tmp_path / {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[layout]
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    assert f"expected a readable local model at '{tmp_path}', got " in refusal(tmp_path)


def test_a_tensor_that_no_shard_holds_is_named(tmp_path: Path) -> None:
    shard = published(tmp_path, "sharded") / SECOND
    kept = load_file(shard)
    name = sorted(kept)[-1]
    del kept[name]
    save_file(kept, shard, metadata={"format": "pt"})
    line = refusal(tmp_path)
    assert "got none for 1 tensors" in line and name in line


@pytest.mark.parametrize("layout", FORMATS)
def test_a_value_that_is_not_finite_is_named(tmp_path: Path, layout: str) -> None:
    state = weights()
    state["model.layers.1.fc1.weight"][3, 4] = float("nan")
    line = refusal(published(tmp_path, layout, state=state))
    assert line == (
        f"expected finite weights in {tmp_path}, got 1 non-finite values in "
        "model.layers.1.fc1.weight; the file is damaged, fetch it again"
    )


class Runs:
    """What an unsafe pickle does when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.trace,)


def test_an_unsafe_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = published(tmp_path / "m", "bin", state=weights())
    torch.save(weights() | {"more": Runs(tmp_path / "trace")}, folder / "pytorch_model.bin")
    assert "expected a readable local model" in refusal(folder)
    assert not (tmp_path / "trace").exists()


def test_a_shape_that_the_configuration_does_not_have_is_named(tmp_path: Path) -> None:
    assert "expected " in refusal(published(tmp_path, ffn_dim=2 * fs.F))


@pytest.mark.parametrize("missing", ["bos_token_id", "eos_token_id"])
def test_a_configuration_without_bos_or_eos_is_named(tmp_path: Path, missing: str) -> None:
    line = refusal(published(tmp_path, **{missing: None}))
    assert "expected one bos_token_id and one eos_token_id" in line
