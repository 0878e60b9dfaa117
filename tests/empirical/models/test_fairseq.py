"""A fairseq checkpoint, converted, computes what fairseq's decoder is defined to compute."""

import json
import os
import shlex
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer
from transformers.models.xglm.modeling_xglm import XGLMSinusoidalPositionalEmbedding

from dualform.rounding import Tracked, check, compare
from empirical.core.errors import UserError
from empirical.models.fairseq import convert as fairseq
from empirical.models.fairseq.convert import convert, run_convert
from empirical.models.loading import load
from tests.support.models import fairseq as fs
from tests.support.models.tiny_models import tokenizer

TEXT = " Review: x zero Positive Sentence: terrible, \u00e9 Label: </s> <s> one"


def save(folder: Path, state: object, **rest: object) -> Path:
    """model.pt as fairseq writes it."""
    extra = {"args": None, "cfg": fs.settings(), "optimizer_history": [{"num_updates": 7}]}
    torch.save({"model": state} | extra | rest, folder / "model.pt")
    return folder / "model.pt"


def ready(tmp_path: Path) -> dict[str, Path]:
    """dictionary, bpe and out of a conversion."""
    return {
        "dictionary": fs.save_dictionary(tmp_path / "dict.txt"),
        "bpe": fs.save_bpe(tmp_path / "bpe"),
        "out": tmp_path / "out",
    }


def refusal(tmp_path: Path, **arguments: Any) -> str:
    """The line of a conversion that is refused and leaves no trace of a folder."""
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        convert(**arguments)
    line = str(caught.value)
    assert set(tmp_path.iterdir()) == before
    assert line.startswith("expected ") and ", got" in line and ";" in line
    assert "\n" not in line
    return line


def columns() -> list[int]:
    """fairseq's row of each new id, written down a second time: BPE ids, specials, fillers."""
    place = {symbol: i for i, symbol in enumerate(fs.symbols())}
    n = len(fs.bpe_tokens())
    fillers = range(4 + n, 4 + n + fs.FILLERS)
    return [place[str(i)] for i in range(n)] + [0, 1, 2, 3] + list(fillers)


def sentence(length: int = 12) -> tuple[list[int], list[int]]:
    """One text as fairseq numbers it, <s> in front and </s> inside, and as the new folder does."""
    old, n = {s: i for i, s in enumerate(fs.symbols())}, len(fs.bpe_tokens())
    ids = tokenizer().encode(TEXT).ids[:length]
    return [0, *(old[str(i)] for i in ids), 2], [n, *ids, n + 2]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float16 checkpoint, converted."""
    folder = tmp_path_factory.mktemp("fairseq")
    return convert(save(folder, fs.tensors()), **ready(folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_the_converted_model_computes_fairseqs_decoder(tmp_path: Path, dtype: torch.dtype) -> None:
    state = fs.tensors(dtype)
    out = convert(save(tmp_path, state), **ready(tmp_path))
    model = load(str(out), dtype=torch.float64)
    old, new = sentence()
    want, order = fs.reference(state, old), columns()
    ours = Tracked(want.value[:, order], want.error[:, order])
    seen = check(ours, ours.elsewhere(fs.logits(model, new)))
    assert seen.nontrivial and float(want.value.std()) > 1


MISTAKES = {
    "positions from 1": fs.Variant(first_position=1),
    "positions from 3": fs.Variant(first_position=3),
    "q and k swapped": fs.Variant(query="k_proj", key="q_proj"),
    "one head": fs.Variant(heads=1),
    "embeddings not scaled": fs.Variant(scaled=False),
    "tanh instead of erf": fs.Variant(tanh=True),
    "no last layer norm": fs.Variant(final_norm=False),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_plausible_mistake_is_far_over_the_bound(converted: Path, mistake: str) -> None:
    old, new = sentence()
    wrong = fs.reference(fs.tensors(), old, MISTAKES[mistake])
    got = fs.logits(load(str(converted), dtype=torch.float64), new)[:, : len(fs.symbols())]
    ours = Tracked(wrong.value[:, columns()], wrong.error[:, columns()])
    assert compare(ours, ours.elsewhere(got)).worst_ratio > 1e5


def test_an_embedding_left_in_fairseqs_order_is_far_over_the_bound(converted: Path) -> None:
    _, new = sentence()
    wrong = fs.reference(fs.tensors(), new)  # as if the new ids were fairseq's
    got = fs.logits(load(str(converted), dtype=torch.float64), new)
    assert compare(wrong, wrong.elsewhere(got)).worst_ratio > 1e5


@pytest.mark.parametrize("width", [2048, 2560])
def test_the_sinusoids_at_the_published_widths_are_fairseqs_bit_for_bit(width: int) -> None:
    made = XGLMSinusoidalPositionalEmbedding(2048, width, None)
    got = made(torch.arange(2048)[None])[0]
    assert torch.equal(got, fs.sinusoids(2, 2048, width))
    assert not torch.equal(got, fs.sinusoids(1, 2048, width))


def test_weights_are_float32_and_equal_and_their_rows_follow_the_tokenizer(converted: Path) -> None:
    state, model = fs.tensors(), load(str(converted))
    for name, value in model.model.named_parameters():
        want = state[name.replace("model.", "decoder.", 1)].float()
        want = want[columns()] if name == "model.embed_tokens.weight" else want
        assert value.dtype == torch.float32 and torch.equal(value, want), name
    assert model.model.lm_head.weight is model.model.model.embed_tokens.weight
    assert (model.n_layers, model.n_heads, model.width) == (fs.LAYERS, fs.HEADS, fs.D)
    assert model.max_length == fs.POSITIONS


def test_text_becomes_the_same_pieces_and_never_a_special_token(converted: Path) -> None:
    model, n = load(str(converted)), len(fs.bpe_tokens())
    assert model.encoder.encode(TEXT) == tokenizer().encode(TEXT).ids
    assert max(model.encoder.encode("</s> <s> <|endoftext|> madeupword0000")) < n
    assert (model.encoder.bos, model.encoder.eos) == (n, n + 2)
    names = [model.encoder.tokenizer.id_to_token(n + i) for i in range(4)]
    assert names == ["<s>", "<pad>", "</s>", "<unk>"]
    assert model.encoder.encode("Label") == tokenizer().encode("Label").ids  # no space in front
    theirs = AutoTokenizer.from_pretrained(converted)
    assert theirs(TEXT)["input_ids"] == tokenizer().encode(TEXT).ids


def test_both_names_of_the_bpe_files_give_the_same_folder(converted: Path, tmp_path: Path) -> None:
    asked = ready(tmp_path) | {"bpe": fs.save_bpe(tmp_path / "b", "encoder.json", "vocab.bpe")}
    other = convert(save(tmp_path, fs.tensors()), **asked)
    assert {p.name: p.read_bytes() for p in other.iterdir()} == {
        p.name: p.read_bytes() for p in converted.iterdir()
    }


def test_a_dictionary_without_the_end_of_text_is_taken(tmp_path: Path) -> None:
    n = len(fs.bpe_tokens()) - 1
    listed = tuple(s for s in fs.symbols() if s != str(n))
    keep = [i for i, s in enumerate(fs.symbols()) if s != str(n)]
    state = fs.tensors()
    for name in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
        state[name] = state[name][keep]
    asked = ready(tmp_path) | {"dictionary": fs.save_dictionary(tmp_path / "d.txt", listed)}
    model = load(str(convert(save(tmp_path, state), **asked)))
    assert (model.encoder.bos, model.encoder.eos) == (n, n + 2)
    assert torch.equal(
        model.model.lm_head.weight[n], state["decoder.embed_tokens.weight"][0].float()
    )


@pytest.mark.parametrize("size", ["2KB", "1KB"])
def test_shards_hold_at_most_what_was_asked_and_load_alike(
    converted: Path, tmp_path: Path, size: str
) -> None:
    out = convert(save(tmp_path, fs.tensors()), **ready(tmp_path), shard_size=size)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert files == sorted(p.name for p in out.glob("*.safetensors")) and len(files) > 2
    total, limit = 0, int(size[:-2]) * 1000
    for file in files:
        sizes = [4 * t.numel() for t in _held(out / file).values()]
        assert sum(sizes) <= limit or len(sizes) == 1
        total += sum(sizes)
    assert total == index["metadata"]["total_size"]
    pairs = zip(
        load(str(out)).model.parameters(), load(str(converted)).model.parameters(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def _held(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


def test_bare_tensors_need_the_heads_and_settings_need_none(
    converted: Path, tmp_path: Path
) -> None:
    torch.save(fs.tensors(), tmp_path / "state.pt")
    asked = ready(tmp_path) | {"checkpoint": tmp_path / "state.pt"}
    line = refusal(tmp_path, **asked)
    assert f"got no settings in {tmp_path / 'state.pt'}; pass --heads N (32 for the 1.3B" in line
    line = refusal(tmp_path, **asked, heads=5)
    assert "divides the width 8" in line and "got 5; pass --heads N" in line
    bare, full = load(str(convert(**asked, heads=fs.HEADS))), load(str(converted))
    assert (bare.max_length, bare.n_heads) == (2048, fs.HEADS)
    _, new = sentence()
    assert torch.equal(
        bare.model(torch.tensor([new])).logits, full.model(torch.tensor([new])).logits
    )
    line = refusal(
        tmp_path, **ready_again(tmp_path), checkpoint=save(tmp_path, fs.tensors()), heads=1
    )
    assert "expected the 2 attention heads of the settings" in line and "leave --heads away" in line


def ready_again(tmp_path: Path) -> dict[str, Path]:
    """As `ready`, from files that lie there, with another out."""
    return {
        "dictionary": tmp_path / "dict.txt", "bpe": tmp_path / "bpe", "out": tmp_path / "again",
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_older_files_keep_their_settings_in_args(tmp_path: Path, zipped: bool) -> None:
    cfg = fs.settings()
    args = Namespace(**cfg["model"] | {"tokens_per_sample": 32})
    value = {"model": fs.tensors(), "args": args}
    torch.save(value, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    model = load(str(convert(tmp_path / "model.pt", **ready(tmp_path))))
    assert (model.n_heads, model.max_length) == (fs.HEADS, 32)


class Runs:
    """What an unsafe pickle does when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def test_nothing_in_a_checkpoint_is_run_and_the_way_out_is_named(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    file = save(tmp_path, fs.tensors(), cfg=Runs(f"touch {trace}"))
    line = refusal(tmp_path, checkpoint=file, **ready(tmp_path))
    assert not trace.exists()
    assert line == (
        f"expected tensors and plain settings in {file}, got a pickled posix.system, which is not "
        "loaded because loading it can run code; in a container without network that has torch "
        'and the package of that name, run `python -c "import torch; torch.save(torch.load('
        "'model.pt', map_location='cpu', weights_only=False)['model'], 'state.pt')\"`, then "
        "convert state.pt with --heads N"
    )


def test_the_command_that_is_named_extracts_tensors_that_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, file = ready(tmp_path), save(tmp_path, fs.tensors(), cfg=Runs("true"))
    python, option, code = shlex.split(refusal(tmp_path, checkpoint=file, **asked).split("`")[1])
    assert (python, option) == ("python", "-c")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert load(str(convert(tmp_path / "state.pt", **asked, heads=fs.HEADS))).n_layers == fs.LAYERS


def changed(name: str, value: Tensor | None) -> dict[str, Tensor]:
    """The tensors with one replaced, added or left out."""
    state = fs.tensors()
    del state["decoder.output_projection.weight"]
    if value is None:
        del state[name]
        return state
    return state | {name: value}


def poisoned() -> Tensor:
    value = fs.tensors()["decoder.layers.1.fc1.weight"]
    value[3, 4], value[5, 6] = float("nan"), float("inf")
    return value


EMBEDDING = "decoder.embed_tokens.weight"
K = "decoder.layers.1.self_attn.k_proj.weight"
DEFECTS: dict[str, tuple[str, Callable[[], Tensor | None], str]] = {
    "no key": (K, lambda: None, f"got none for 1 tensors ({K} first); the file is incomplete"),
    "no embedding": (EMBEDDING, lambda: None, f"expected a matrix {EMBEDDING} in"),
    "no layer": ("decoder.layers.0.fc1.weight", lambda: None, "a matrix decoder.layers.0.fc1.wei"),
    "a flat embedding": (EMBEDDING, lambda: torch.zeros(9), f"{EMBEDDING} in FILE, got shape (9,)"),
    "learned positions": (
        "decoder.embed_positions.weight", lambda: torch.zeros(9, fs.D),
        "expected a dense decoder's weights in FILE, got decoder.embed_positions.weight; only",
    ),
    "another shape": (K, lambda: torch.zeros(fs.D, 4), f"expected shape (8, 8) for {K} in FILE, "
                      "got (8, 4); the file is damaged, fetch it again"),
    "another type": (K, lambda: torch.zeros(fs.D, fs.D).double(), f"expected float16, bfloat16, "
                     f"float32 for {K} in FILE, got torch.float64; float32 would not keep its val"),
    "not finite": ("decoder.layers.1.fc1.weight", poisoned, "got 2 non-finite values in "
                   "decoder.layers.1.fc1.weight; the file is damaged, fetch it again"),
    "another output": (
        "decoder.output_projection.weight", lambda: fs.tensors()[EMBEDDING] * 2,
        f"decoder.output_projection.weight equal to {EMBEDDING} in FILE, got other values; only",
    ),
    "fewer rows": (EMBEDDING, lambda: fs.tensors()[EMBEDDING][:-1].clone(), "symbols, one for each "
                   "row of decoder.embed_tokens.weight, in "),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_the_tensors_is_named(tmp_path: Path, defect: str) -> None:
    name, value, message = DEFECTS[defect]
    file = save(tmp_path, changed(name, value()))
    line = refusal(tmp_path, checkpoint=file, **ready(tmp_path))
    assert message.replace("FILE", str(file)) in line


@pytest.mark.parametrize(("key", "value", "message"), [
    ("activation_fn", "relu", "expected activation_fn 'gelu' in FILE, got 'relu'; only fairseq's"),
    ("no_scale_embedding", True, "expected no_scale_embedding False in FILE, got True; only"),
    ("no_token_positional_embeddings", True, "no_token_positional_embeddings False in FILE, got"),
    ("decoder_layers", 3, "the 3 layers of its settings in FILE, got 2; the file is incomplete"),
    ("max_target_positions", 0, "expected a positive max_target_positions in FILE, got 0; the"),
    ("decoder_attention_heads", 7, "divides the width 8 of FILE, got 7; pass --heads N"),
])  # fmt: skip
def test_settings_that_would_compute_something_else_are_named(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    file = save(tmp_path, fs.tensors(), cfg=fs.settings(**{key: value}))
    line = refusal(tmp_path, checkpoint=file, **ready(tmp_path))
    assert message.replace("FILE", str(file)) in line


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(content)
    line = refusal(tmp_path, checkpoint=file, **ready(tmp_path))
    assert line.startswith(f"expected a file written by torch.save at {file}, got ")
    assert line.endswith("; correct the path or fetch the file again")


def test_a_truncated_a_missing_and_another_file_are_named(tmp_path: Path) -> None:
    asked = ready(tmp_path)
    file = save(tmp_path, fs.tensors())
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "expected a file written by torch.save" in refusal(tmp_path, checkpoint=file, **asked)
    assert "FileNotFoundError" in refusal(tmp_path, checkpoint=tmp_path / "no.pt", **asked)
    for value in ([1, 2], {"model": {"a": 3}}, {"model": {}}, {"model": None}, {"cfg": {}}):
        torch.save(value, file)
        line = refusal(tmp_path, checkpoint=file, **asked)
        assert line.endswith("; pass the model.pt of a fairseq language model")


def edited(path: Path, edit: Callable[[list[str]], list[str]]) -> Path:
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    return path


@pytest.mark.parametrize(("edit", "message"), [
    (lambda x: [*x, "</s> 3"], "expected `GPT2ID COUNT` in FILE line LAST, got '</s> 3'; pass"),
    (lambda x: [*x, "hello 3"], "expected `GPT2ID COUNT` in FILE line LAST, got 'hello 3'; pass"),
    (lambda x: [*x, "017 3"], "expected `GPT2ID COUNT` in FILE line LAST, got '017 3'; pass"),
    (lambda x: [*x, "17"], "expected `GPT2ID COUNT` in FILE line LAST, got '17'; pass"),
    (lambda x: [*x, "17 3"], "expected another symbol than before in FILE line LAST, got '17 3'"),
    (lambda x: [y for y in x if not y.startswith("17 ")], "(17 is in one alone); pass the dict."),
    (lambda x: [*x, "90000 3"], "(90000 is in one alone); pass the dict.txt and the BPE of the"),
    (lambda x: [*x, "madeupword0003 0"], "symbols, one for each row of decoder.embed_tokens.weig"),
    (lambda _: [], "expected `GPT2ID COUNT` in FILE line 1, got ''; pass the dict.txt that came"),
])  # fmt: skip
def test_a_dictionary_of_another_model_is_named(
    tmp_path: Path, edit: Callable[[list[str]], list[str]], message: str
) -> None:
    asked = ready(tmp_path)
    file = edited(asked["dictionary"], edit)
    line = refusal(tmp_path, checkpoint=save(tmp_path, fs.tensors()), **asked)
    last = len(file.read_text().splitlines())
    assert message.replace("FILE", str(file)).replace("LAST", str(last)) in line


def test_a_dictionary_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    asked["dictionary"].write_bytes(b"\xff\xfe")
    assert "UnicodeDecodeError; correct the path" in refusal(tmp_path, **asked)
    asked["dictionary"].unlink()
    assert "FileNotFoundError; correct the path" in refusal(tmp_path, **asked)


def test_a_bpe_that_is_incomplete_or_another_is_named(tmp_path: Path) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    vocab = asked["bpe"] / "vocab.json"
    tokens = fs.bpe_tokens()
    vocab.write_text(json.dumps(tokens | {"<s>": 7}))
    assert f"each once, in {vocab}, got others" in refusal(tmp_path, **asked)
    named = {"<s>" if t == fs.END_OF_TEXT else t: i for t, i in tokens.items()}
    vocab.write_text(json.dumps(named))
    assert "expected no token among <s>, <pad>" in refusal(tmp_path, **asked)
    vocab.write_text("{")
    assert "a BPE that can be read in" in refusal(tmp_path, **asked)
    vocab.unlink()
    line = refusal(tmp_path, **asked)
    assert "expected vocab.json with merges.txt, or encoder.json with vocab.bpe, in" in line


@pytest.mark.parametrize("size", ["", "2", "0GB", "-1GB", "2gb", "1.5GB", "GB"])
def test_a_shard_size_that_is_none_is_named(tmp_path: Path, size: str) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    line = refusal(tmp_path, **asked, shard_size=size)
    assert line == f"expected a shard size like 500MB, got {size!r}; for example 2GB"


def test_a_folder_that_exists_is_not_touched_and_one_that_cannot_be_made_is_named(
    tmp_path: Path,
) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    asked["out"].mkdir()
    line = refusal(tmp_path, **asked)
    assert line == (
        f"expected a new folder at {asked['out']}, got one that exists; name another or remove it"
    )
    asked["out"] = asked["dictionary"] / "below" / "a file"
    line = refusal(tmp_path, **asked)
    assert line.startswith(f"expected a folder that can be written at {asked['out']}, got: ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_between_two_shards_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    before, written, real = set(tmp_path.iterdir()), [], fairseq.save_file

    def fails_at_the_third(kept: Any, file: Path, **rest: Any) -> None:
        written.append(file)
        if len(written) == 3:
            raise error
        real(kept, file, **rest)

    monkeypatch.setattr(fairseq, "save_file", fails_at_the_third)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        convert(**asked, shard_size="1KB")
    assert len(written) == 3 and set(tmp_path.iterdir()) == before
    if isinstance(error, OSError):
        assert "got: [Errno 28] No space left on device; name another one" in str(caught.value)


def test_a_kill_before_the_end_leaves_no_folder_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    with monkeypatch.context() as patched:
        patched.setattr(fairseq, "_write_rest", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                convert(**asked)
            finally:
                os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not asked["out"].exists()
    convert(**asked)  # what was left does not stand in the way
    assert load(str(asked["out"])).n_layers == fs.LAYERS


def test_the_command_line_tells_what_to_run_next(tmp_path: Path) -> None:
    asked = ready(tmp_path) | {"checkpoint": save(tmp_path, fs.tensors())}
    before = set(tmp_path.iterdir())
    line = run_convert(**asked)
    assert set(tmp_path.iterdir()) == before | {asked["out"]}
    assert {oct(p.stat().st_mode)[-3:] for p in asked["out"].iterdir()} == {"644"}
    assert line == (
        f"converted to {asked['out']}, weights in float32; now run `dualform check {asked['out']}`"
    )


def test_settings_of_the_model_win_over_those_of_the_task(tmp_path: Path) -> None:
    cfg = fs.settings(max_target_positions=48)
    cfg["task"]["max_target_positions"] = 40
    model = load(str(convert(save(tmp_path, fs.tensors(), cfg=cfg), **ready(tmp_path))))
    assert model.max_length == 48


def test_the_bound_of_the_reference_is_far_under_its_logits() -> None:
    want = fs.reference(fs.tensors(), sentence()[0])
    assert float(want.error.max()) < 1e-8 < float(want.value.abs().median())
