"""The figure of a document of checks: its marks, its endings, and clear errors."""

import copy
from pathlib import Path
from typing import Any

import pytest

from empirical.core.errors import UserError
from empirical.report.figures import identity_layers
from empirical.report.figures.identity_layers import FLOOR, check_figure, draw


def head(worst: Any, near: Any, reason: str | None = None) -> dict[str, Any]:
    return {"head": 0, "worst_ratio": worst, "near_miss_ratio": near, "near_miss_is_true": reason}


def layer(number: int) -> dict[str, Any]:
    spread = {"mean": 0.5, "low": 0.25, "high": 0.75, "defined": 2, "total": 2}
    return {
        "layer": number,
        "statements": {
            "a": [head(0.125, 1e3), head(0.25, 1e6)],
            "exact": [head(0.0, 1e9)],
            "no-bias": [head(0.0625, 0.0625, "no bias")],
        },
        "softmax": {"demonstrations": spread, "relaxation": {**spread, "high": 750.0}},
    }


def document(layers: int = 3) -> dict[str, Any]:
    made = {"model": "m", "k": 4, "context_length": 32}
    return {"provenance": made, "task": "mr", "layers": [layer(i) for i in range(layers)]}


class Axis:
    """What is drawn, by its label."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def plot(self, x: list[int], y: list[float], label: str, **_: Any) -> None:
        self.seen[label] = list(zip(x, y, strict=True))

    def fill_between(self, x: list[int], low: Any, high: Any, label: str, **_: Any) -> None:
        self.seen[label] = list(zip(x, low, high, strict=True))

    def __getattr__(self, name: str) -> Any:
        return lambda *a, **k: self.seen.setdefault(name, []).append((a, k))


def test_identities_are_under_the_line_at_one_and_near_misses_over_it() -> None:
    axis = Axis()
    identity_layers._ratios(axis, document(2)["layers"])
    seen = axis.seen
    assert seen["near miss (smallest over heads)"] == [(0, 1e3), (0, 1e9), (1, 1e3), (1, 1e9)]
    assert seen["identity (largest over heads)"] == [(0, 0.25), (0, 0.0625), (1, 0.25), (1, 0.0625)]
    assert seen[f"identity ({FLOOR:g} or less)"] == [(0, FLOOR), (1, FLOOR)]
    assert seen["largest of all identities"] == [(0, 0.25), (1, 0.25)]
    assert seen["axhline"][0][0] == (1,) and seen["set_yscale"] == [(("log",), {})]


def test_curves_are_the_mean_over_heads_and_bands_their_range() -> None:
    axis = Axis()
    identity_layers._spread(axis, document(2)["layers"], "relaxation", "size")
    assert axis.seen["mean over heads (λ, relaxation)"] == [(0, 0.5), (1, 0.5)]
    assert axis.seen["range over heads (λ, relaxation)"] == [(0, 0.25, 750.0), (1, 0.25, 750.0)]
    assert axis.seen["set_ylabel"] == [(("size",), {})]


def test_the_same_document_gives_the_same_svg_with_its_labels(tmp_path: Path) -> None:
    one, two = tmp_path / "a.svg", tmp_path / "b.svg"
    draw(document(), one)
    draw(document(), two)
    assert one.read_bytes() == two.read_bytes()
    text = one.read_text(encoding="utf-8")
    for words in ("share of softmax", "relaxation", "gap / bound", "layer", "m reading mr: 4"):
        assert words in text


@pytest.mark.parametrize("ending", [".png", ".svg", ".PNG"])
def test_a_figure_of_one_layer_and_of_undefined_values_is_drawn(
    ending: str, tmp_path: Path
) -> None:
    value = copy.deepcopy(document(1))
    none = {"undefined": "no head has a value"}
    value["layers"][0]["softmax"]["relaxation"] |= {"mean": none, "low": none, "high": none}
    value["layers"][0]["statements"]["a"][0]["worst_ratio"] = {"undefined": "not finite (nan)"}
    path = tmp_path / f"layers{ending}"
    draw(value, path)
    assert path.stat().st_size > 5000


def test_what_cannot_be_drawn_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"ends in \.svg or \.png, got .*layers\.pdf"):
        check_figure(tmp_path / "layers.pdf")
    with pytest.raises(UserError, match="expected an existing folder for the figure, got .*none"):
        check_figure(tmp_path / "none" / "layers.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(UserError, match="expected a figure that can be written at .*folder.svg"):
        draw(document(), tmp_path / "folder.svg")
    monkeypatch.setattr(identity_layers, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r'expected matplotlib .*pip install "dualform\[report\]"'):
        check_figure(tmp_path / "layers.svg")
