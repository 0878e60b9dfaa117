"""How other code lays out its arguments, scales them, and orders decay, write and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

Axes = Literal["head time", "time head", "head column", "time"]
Scale = Literal["none", "inverse sqrt"]
Gate = Literal["plain", "log", "one minus", "half", "double"]
Decay = Literal["before write", "after write", "after read"]
Read = Literal["after write", "before write"]
StateAxes = Literal["value key", "key value"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "axes": ("head time", "time head", "head column", "time"),
    "query_scale": ("none", "inverse sqrt"),
    "key_scale": ("none", "inverse sqrt"),
    "decay": ("before write", "after write", "after read"),
    "read": ("after write", "before write"),
    "state": ("value key", "key value"),
}
GATES: tuple[str, ...] = ("plain", "log", "one minus", "half", "double")
SHAPES = {
    "head time": "[batch, head, time, dim]",
    "time head": "[batch, time, head, dim]",
    "head column": "[batch, head, dim, time]",
    "time": "[time, dim]",
}


class UnknownConvention(ValueError):
    """A convention that has no such field, or a field without such a value."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What an implementation means by its arguments; the defaults are this project's own.

    axes: where heads and tokens lie. "head time" [batch, head, time, dim]; "time head" [batch,
        time, head, dim]; "head column" [batch, head, dim, time]; "time" [time, dim] of one head.
    query_scale, key_scale: "inverse sqrt" where the code itself multiplies by d_k^(-1/2).
    gates: by name, what the argument x stands for. "plain" x; "log" exp(x); "one minus" 1 - x;
        "half" x/2 (the rate of a gradient of half the square); "double" 2x.
    decay: "before write" S_t = a_t S_(t-1) + write; "after write" S_t = a_t (S_(t-1) + write), read
        as S_t q_t; "after read" the same state, read before it decays.
    read: "before write" for o_t = S_(t-1) q_t.
    state: "key value" for states [d_k, d_v], o = q S.
    normaliser: None, or the epsilon e of o_t / (q_t . sum of keys + e).

    Raises:
        UnknownConvention: for a value that is not listed.
    """

    axes: Axes = "head time"
    query_scale: Scale = "none"
    key_scale: Scale = "none"
    gates: Mapping[str, Gate] = field(default_factory=dict)
    decay: Decay = "before write"
    read: Read = "after write"
    state: StateAxes = "value key"
    normaliser: float | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UnknownConvention(_wanted(name, known, getattr(self, name)))
        for name, meaning in self.gates.items():
            if meaning not in GATES:
                raise UnknownConvention(_wanted(f"gate {name}", GATES, meaning))

    def __str__(self) -> str:
        """The shapes, then what differs from the default."""
        plain, parts = Convention(), [SHAPES[self.axes]]
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("axes", "gates") and value != getattr(plain, f.name):
                parts.append(f"{f.name.replace('_', ' ')}: {value}")
        parts += [f"{name}: {meaning}" for name, meaning in self.gates.items()]
        return "; ".join(parts)


def _wanted(name: str, known: tuple[str, ...], got: object) -> str:
    return f"expected {name} to be one of {', '.join(map(repr, known))}, got {got!r}"
