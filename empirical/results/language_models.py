"""One file for each trained model: what was trained, how, and what it scores (no torch).

The same command gives the same bytes on the same machine; seconds live in timing.json. Losses
are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from empirical.core.json_files import dumps, file_name, read_object, write_text
from empirical.results.attention_kinds import Layer
from empirical.results.record import Reader

SCHEMA = 1
PREFIX = "momentum"


@dataclass(frozen=True, kw_only=True)
class Equal:
    """What has to be equal between the models of one seed for their difference to mean anything.

    `parameters`: without learned etas, which are counted in `Trained.rates`. `initial_sha256`: of
    the first weights, without etas. `order_sha256`: of every token trained on, in its order.
    `settings`: all numbers of geometry and optimiser, as text.
    """

    parameters: int
    steps: int
    tokens: int
    initial_sha256: str
    order_sha256: str
    settings: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One task: right and chosen classes of every asked row, or `absent`: why there are none.

    `k` demonstrations fit. `rows_sha256`: of the rows asked and shown.
    """

    task: str
    k: int = 0
    classes: int = 0
    gold: tuple[int, ...] = ()
    zero_shot: tuple[int, ...] = ()
    in_context: tuple[int, ...] = ()
    rows_sha256: str = ""
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the numbers depend on beside `Equal`. `text_sha256`: of tokenizer and all windows."""

    text: str
    text_sha256: str
    device: str
    dtype: str
    threads: int
    versions: Mapping[str, str]
    code_sha256: str
    commit: str | None
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One model. `rates`: learned etas, layer by layer, head by head; empty where none is learned.

    `curve`, `held_out_curve`: (step, loss) in training and on the windows that choose eta.
    `losses`: mean loss of every window, by place and length: `training-256`, `choosing-256` (of
    training books, not trained on), `validation-64`, `validation-128`, `validation-256` (of books
    that were never read). `length`: the training length, the longest of them.
    """

    scale: str
    layer: Layer
    seed: int
    length: int
    equal: Equal
    curve: tuple[tuple[int, float], ...]
    held_out_curve: tuple[tuple[int, float], ...]
    losses: Mapping[str, tuple[float, ...]]
    scores: Mapping[str, Scores]
    rates: tuple[tuple[float, ...], ...]
    origin: Origin
    schema: int = field(default=SCHEMA)

    @property
    def name(self) -> str:
        """`momentum-SCALE-LAYER-sSEED`."""
        return run_name(self.scale, self.layer, self.seed)


def run_name(scale: str, layer: Layer, seed: int) -> str:
    """`momentum-SCALE-LAYER-sSEED`, safe as a file name."""
    return file_name(PREFIX, scale, f"{layer.name}-s{seed}")


@dataclass(frozen=True, kw_only=True)
class _Reader(Reader):
    def points(self, where: str, value: Any) -> tuple[tuple[int, float], ...]:
        return tuple(
            (self.integer(where, a), self.real(where, b)) for a, b in self.pairs(where, value)
        )

    def integers(self, where: str, value: Any) -> tuple[int, ...]:
        return tuple(self.integer(where, x) for x in self.sequence(where, value))

    def reals(self, where: str, value: Any) -> tuple[float, ...]:
        return tuple(self.real(where, x) for x in self.sequence(where, value))

    def texts(self, where: str, value: Any) -> dict[str, str]:
        return {k: self.text(where, x) for k, x in self.mapping(where, value).items()}

    def layer(self, value: Any) -> Layer:
        v = self.keys("layer", value, {f.name for f in fields(Layer)})
        eta = None if v["eta"] is None else self.real("eta", v["eta"])
        if not isinstance(v["learned"], bool):
            raise self.fail("learned", "true or false", v["learned"])
        return Layer(kind=self.text("kind", v["kind"]), eta=eta, learned=v["learned"])

    def equal(self, value: Any) -> Equal:
        v = self.keys("equal", value, {f.name for f in fields(Equal)})
        return Equal(
            parameters=self.integer("parameters", v["parameters"]),
            steps=self.integer("steps", v["steps"]),
            tokens=self.integer("tokens", v["tokens"]),
            initial_sha256=self.text("initial_sha256", v["initial_sha256"]),
            order_sha256=self.text("order_sha256", v["order_sha256"]),
            settings=self.texts("settings", v["settings"]),
        )

    def scores(self, where: str, value: Any) -> Scores:
        v = self.keys(where, value, {f.name for f in fields(Scores)})
        found = Scores(
            task=self.text("task", v["task"]),
            rows_sha256=self.text("rows_sha256", v["rows_sha256"]),
            k=self.integer("k", v["k"]),
            classes=self.integer("classes", v["classes"]),
            gold=self.integers("gold", v["gold"]),
            zero_shot=self.integers("zero_shot", v["zero_shot"]),
            in_context=self.integers("in_context", v["in_context"]),
            absent=None if v["absent"] is None else self.text("absent", v["absent"]),
        )
        if not len(found.gold) == len(found.zero_shot) == len(found.in_context):
            raise self.fail(where, "as many answers as rows", len(found.in_context))
        return found

    def run_origin(self, value: Any) -> Origin:
        v = self.keys("origin", value, {f.name for f in fields(Origin)})
        return Origin(
            text=self.text("text", v["text"]),
            text_sha256=self.text("text_sha256", v["text_sha256"]),
            device=self.text("device", v["device"]),
            dtype=self.text("dtype", v["dtype"]),
            threads=self.integer("threads", v["threads"]),
            **self.origin(v),
        )

    def trained(self, value: dict[str, Any]) -> Trained:
        if value.get("schema") != SCHEMA:
            raise self.fail("schema", f"version {SCHEMA}", value.get("schema"))
        v = self.keys("the top level", value, {f.name for f in fields(Trained)})
        return Trained(
            scale=self.text("scale", v["scale"]),
            layer=self.layer(v["layer"]),
            seed=self.integer("seed", v["seed"]),
            length=self.integer("length", v["length"]),
            equal=self.equal(v["equal"]),
            curve=self.points("curve", v["curve"]),
            held_out_curve=self.points("held_out_curve", v["held_out_curve"]),
            losses={
                k: self.reals(f"losses of {k}", x)
                for k, x in self.mapping("losses", v["losses"]).items()
            },
            scores={
                k: self.scores(f"scores of {k}", x)
                for k, x in self.mapping("scores", v["scores"]).items()
            },
            rates=tuple(self.reals("rates", x) for x in self.sequence("rates", v["rates"])),
            origin=self.run_origin(v["origin"]),
        )


def write(trained: Trained, folder: Path) -> Path:
    """Write `FOLDER/momentum-SCALE-LAYER-sSEED.json`.

    Raises:
        ValueError: for a number that is not finite.
    """
    path = Path(folder) / f"{trained.name}.json"
    write_text(path, dumps(trained))
    return path


def read(path: Path) -> Trained:
    """Parse and validate one file.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version.
    """
    return _Reader(path=Path(path)).trained(read_object(Path(path)))


def read_all(folder: Path) -> tuple[Trained, ...]:
    """Every `momentum-*.json` of a folder, in name order; empty where there is none.

    Raises:
        UserError: when one is damaged.
    """
    return tuple(read(path) for path in sorted(Path(folder).glob(f"{PREFIX}-*.json")))


TRAINING, CHOOSING, VALIDATION = "training", "choosing", "validation"
