"""The table of architectures: entries are complete, true of the modules, and the only such table.

What attention does is compared with the library in `test_architectures`; here are the parts of an
entry beside it, and that no fact of an architecture lies elsewhere.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

from empirical.models.architectures import KNOWN, adapter_of, blocks_of
from empirical.models.architectures.adapter import MLP, Adapter, Quirks
from empirical.models.architectures.adapters import ADAPTERS
from empirical.models.architectures.final_norm import layers_of
from empirical.models.architectures.qk_norm import NormModules
from tests.support.models.architectures import (
    CONTEXT,
    OWN,
    VARIANTS,
    f32,
    final,
    plainly,
    rows,
    tiny,
)
from tests.support.paths import ROOT

every_variant = pytest.mark.parametrize("name", VARIANTS)
IDS = rows(1, CONTEXT + OWN, CONTEXT)
NORMS = NormModules(query="q_norm", key="k_norm", unit_offset=False)
ENTRIES: list[Any] = [ADAPTERS["llama"], ADAPTERS["llama"].mlp, ADAPTERS["llama"].quirks, NORMS]


# Complete.


@pytest.mark.parametrize(
    ("entry", "left_out"), [(entry, f.name) for entry in ENTRIES for f in fields(entry)]
)
def test_an_entry_that_lacks_a_field_cannot_be_made(entry: Any, left_out: str) -> None:
    stated = {f.name: getattr(entry, f.name) for f in fields(entry)}
    assert type(entry)(**stated) == entry
    del stated[left_out]
    with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{left_out}'"):
        type(entry)(**stated)


def test_an_entry_holds_values_of_the_four_complete_kinds() -> None:
    assert {type(entry) for entry in ENTRIES} == {Adapter, MLP, Quirks, NormModules}
    for adapter in ADAPTERS.values():
        assert type(adapter) is Adapter and type(adapter.mlp) is MLP
        assert type(adapter.quirks) is Quirks


# True of the modules.


class Kept:
    """What modules read and gave first (GPT-1's layers share an activation) while a model reads.

    `silent`: the first layer's attention gives zero.
    """

    def __init__(self, name: str, modules: dict[str, nn.Module], silent: bool = False) -> None:
        self.read: dict[str, Tensor] = {}
        self.gave: dict[str, Tensor] = {}
        model, handles = tiny(name, f32), []
        for part, module in modules.items():

            def keep(_m: Any, given: Any, out: Tensor, part: str = part) -> None:
                self.read.setdefault(part, given[0])
                self.gave.setdefault(part, out)

            handles.append(module.register_forward_hook(keep))
        if silent:
            output = blocks_of(model)[0].output
            handles.append(output.register_forward_hook(lambda _m, _g, out: torch.zeros_like(out)))
        try:
            with plainly(model):
                final(model, IDS)
        finally:
            for handle in handles:
                handle.remove()


def mlp_parts(name: str) -> dict[str, nn.Module]:
    """The modules of the first layer's MLP, by field."""
    model = tiny(name, f32)
    mlp, layer = adapter_of(model.config).mlp, layers_of(model)[0]
    paths = {"first": mlp.first, "second": mlp.second, "activation": mlp.activation}
    paths |= {} if mlp.gate is None else {"gate": mlp.gate}
    return {part: attrgetter(path)(layer) for part, path in paths.items()}


@every_variant
def test_the_parts_of_an_mlp_make_what_its_second_map_reads(name: str) -> None:
    parts = mlp_parts(name)
    assert all(
        isinstance(parts[x], nn.Linear | Conv1D) for x in {"first", "second", "gate"} & set(parts)
    )
    seen = Kept(name, parts)
    bent, first = seen.gave["activation"], seen.gave["first"]
    assert ("gate" in parts) == VARIANTS[name].gated
    if "gate" in parts:
        assert torch.equal(seen.read["activation"], seen.gave["gate"])
        assert torch.equal(seen.read["gate"], seen.read["first"])
        assert torch.equal(seen.read["second"], bent * first)
        assert not torch.equal(seen.read["second"], bent * seen.gave["gate"])  # near miss
    else:
        assert torch.equal(seen.read["activation"], first)
        assert torch.equal(seen.read["second"], bent) and not torch.equal(bent, first)


@every_variant
def test_an_mlp_beside_attention_reads_the_same_whatever_attention_gives(name: str) -> None:
    parts = mlp_parts(name)
    heard, silent = (Kept(name, parts, silent).read["first"] for silent in (False, True))
    parallel = adapter_of(tiny(name, f32).config).parallel
    assert parallel == VARIANTS[name].parallel == torch.equal(heard, silent)


@every_variant
def test_an_activation_of_an_architectures_own_is_of_its_class(name: str) -> None:
    own = adapter_of(tiny(name, f32).config).mlp.own_activation
    used = type(mlp_parts(name)["activation"])
    assert (own is not None) == (used.__module__.startswith("transformers.models."))
    assert own in (None, used.__name__)


# The only table.


def names_of(kind: str) -> tuple[str, str]:
    """The class of a whole model, and what the names of its parts' classes begin with."""
    whole = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    return whole, re.sub("(ForCausalLM|LMHeadModel)$", "", whole)


def named_architectures(source: str) -> Iterator[tuple[int, str]]:
    """Lines and strings of a source that are a model type, or the class of an architecture's part.

    The class of a whole model may be named: it stands in configurations that are written.
    """
    classes = dict(map(names_of, KNOWN))
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) else None
        if not isinstance(text, str) or text in classes:
            continue
        if text in KNOWN or (text.isidentifier() and text.startswith(tuple(classes.values()))):
            assert isinstance(node, ast.Constant)
            yield node.lineno, text


def test_no_other_module_names_an_architecture() -> None:
    package = ROOT / "empirical"
    table = package / "models" / "architectures" / "adapters.py"
    elsewhere = {
        f"{path.relative_to(ROOT)}:{line}": name
        for path in package.rglob("*.py")
        if path != table
        for line, name in named_architectures(path.read_text(encoding="utf-8"))
    }
    assert elsewhere == {}
    assert {name for _, name in named_architectures(table.read_text(encoding="utf-8"))} >= set(
        KNOWN
    )


def test_a_second_table_would_be_seen() -> None:
    second = 'ENDS = {"falcon": 1}\nif config.model_type == "openai-gpt":\n    pass\n'
    assert list(named_architectures(second)) == [(1, "falcon"), (2, "openai-gpt")]
    assert [x for _, x in named_architectures('name in {"BloomGelu", "ReLU"}')] == ["BloomGelu"]
    assert not list(named_architectures('"""GPT-2 and falcon."""\nwrite("XGLMForCausalLM")'))
