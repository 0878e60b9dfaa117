"""Loading says what is wrong; random models depend on their seed alone."""

import json
from pathlib import Path

import pytest
import torch

from empirical.core.errors import UserError
from empirical.models.loading import Geometry, load, random_xglm, read_tokenizer
from tests.support.models.tiny_models import tiny, tokenizer

SMALL = Geometry(layers=1, width=8, heads=2, ffn=16, positions=64)


def saved(folder: Path) -> Path:
    tiny(torch.float32).model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def test_a_saved_model_loads_with_equal_weights_and_geometry(tmp_path: Path) -> None:
    got, want = load(str(saved(tmp_path))), tiny(torch.float32)
    for a, b in zip(got.model.parameters(), want.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (got.n_layers, got.n_heads, got.width, got.max_length) == (2, 2, 16, 512)
    assert (got.encoder.bos, got.encoder.eos) == (want.encoder.bos, want.encoder.eos)
    assert got.encoder.encode(" Positive") == want.encoder.encode(" Positive")


def test_a_folder_without_weights_or_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected config.json"):
        load(str(tmp_path))
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expected weights .*got none"):
        load(str(tmp_path))


def test_non_finite_weights_are_found_by_name(tmp_path: Path) -> None:
    broken = tiny(torch.float32)
    with torch.no_grad():
        broken.model.model.layers[1].fc1.weight[3, 4] = float("nan")
    saved(tmp_path)
    broken.model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"1 non-finite values in model.layers.1.fc1.weight"):
        load(str(tmp_path))


def test_an_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    with pytest.raises(UserError, match="among bloom, .*xglm .*got 'mamba'.*add an adapter"):
        load(str(tmp_path))


def test_damaged_weights_are_a_user_error(tmp_path: Path) -> None:
    weights = saved(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="expected a readable local model"):
        load(str(tmp_path))


def test_an_unreachable_hub_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    with pytest.raises(UserError, match="reachable hub model .*no connection; check the name"):
        load("someone/some-model")


def test_random_models_depend_on_the_seed_and_leave_global_state() -> None:
    state = torch.random.get_rng_state()
    a, b, c = (random_xglm(SMALL, seed, tokenizer()) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = list(zip(a.model.parameters(), b.model.parameters(), strict=True))
    assert all(torch.equal(x, y) for x, y in pairs)
    x, z = a.model.model.embed_tokens.weight, c.model.model.embed_tokens.weight
    assert not torch.equal(x, z)
    assert a.model.lm_head.weight is x


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--tokenizer DIR"):
        read_tokenizer(tmp_path)


def changed(folder: Path, **more: object) -> None:
    """Other values in a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.parametrize("pad", [50258, 5])
def test_a_padding_token_of_the_configuration_does_not_matter(tmp_path: Path, pad: int) -> None:
    want = load(str(saved(tmp_path)))
    changed(tmp_path, pad_token_id=pad)
    got = load(str(tmp_path))
    ids = torch.tensor([[3, 4, 5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(got.model(input_ids=ids).logits, want.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_layers": 1}, r"weights of the 1 layers .* got model\.layers\.1\."),
        ({"d_model": 32}, "weights of the shapes that config.json of .* gives, got"),
        ({"bos_token_id": 10**6}, "below vocab_size .*, got 1000000"),
        ({"num_layers": 3}, "expected every weight of the model"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    tmp_path: Path, more: dict[str, object], message: str
) -> None:
    saved(tmp_path)
    changed(tmp_path, **more)
    with pytest.raises(UserError, match=message):
        load(str(tmp_path))


def test_a_pickled_index_is_a_known_layout_and_a_list_in_it_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match="expected a readable local model"):
        load(str(tmp_path))
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(UserError, match="expected a readable local model"):
        load(str(tmp_path))
