"""A target from the command line: `package.module:function` and conventions as FIELD=VALUE."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch

from dualform.rounding import UNIT_ROUNDOFF
from dualform.testing.conventions import CHOICES, Convention, UnknownConvention
from dualform.testing.implementation import Implementation, as_implementation
from dualform.testing.messages import Unusable
from dualform.variants import VARIANTS

_NUMBERS = ("multiple", "longest", "widest")
_FLAGS = ("square", "grouped", "positive")


class BadTarget(ValueError):
    """A target, rule or convention on the command line that means nothing."""


def implementation(target: str, variant: str, given: Sequence[str]) -> Implementation:
    """The function or `Implementation` at `module:name`, with the conventions given.

    Raises:
        BadTarget: when it cannot be imported or called, or a name or value is unknown.
    """
    if variant not in VARIANTS:
        raise BadTarget(f"expected a rule out of {', '.join(VARIANTS)}, got {variant!r}")
    try:
        kernel = as_implementation(_loaded(target))
        for one in given:
            kernel = _with(kernel, one, tuple(VARIANTS[variant].gates))
    except (UnknownConvention, Unusable) as error:
        raise BadTarget(str(error)) from error
    return kernel


def _loaded(target: str) -> Any:
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise BadTarget(f"expected package.module:function, got {target!r}")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise BadTarget(
            f"expected a module {module!r} that can be imported, got {error}; "
            "run pytest where it can be, as by `python -m pytest`"
        ) from error
    try:
        return reduce(getattr, name.split("."), loaded)
    except AttributeError as error:
        raise BadTarget(f"expected {name!r} in {module}, got {error}") from error


def _with(kernel: Implementation, one: str, gates: tuple[str, ...]) -> Implementation:
    """`kernel` with one FIELD=VALUE.

    Raises:
        BadTarget: for another form, an unknown name or a value that it cannot take.
    """
    name, equals, value = one.partition("=")
    if not equals:
        raise BadTarget(f"expected FIELD=VALUE, got {one!r}")
    changed: dict[str, Any] = {}
    if name.startswith("names."):
        changed["names"] = {**kernel.names, name.removeprefix("names."): value}
    elif name.startswith("constants."):
        changed["constants"] = {**kernel.constants, name.removeprefix("constants."): _plain(value)}
    elif name == "accumulate":
        changed[name] = value
    elif name == "dtypes":
        changed[name] = tuple(_dtype(d) for d in value.split(","))
    elif name == "chunks":
        changed[name] = tuple(_whole(name, c) for c in value.split(","))
    elif name in _NUMBERS:
        changed[name] = _whole(name, value)
    elif name in _FLAGS:
        changed[name] = bool(_plain(value))
    else:
        changed["convention"] = _convention(kernel.convention, name, value, gates)
    return replace(kernel, **changed)


def _convention(old: Convention, name: str, value: str, gates: tuple[str, ...]) -> Convention:
    changed: dict[str, Any] = {name: value}
    if name == "normaliser":
        changed[name] = float(value)
    elif name in gates and not (name in CHOICES and value in CHOICES[name]):
        changed = {"gates": {**old.gates, name: value}}
    elif name not in CHOICES:
        known = ", ".join([*CHOICES, "normaliser", *gates, *_NUMBERS, *_FLAGS])
        raise BadTarget(
            f"expected one of {known}, accumulate, dtypes, chunks, names.NAME or constants.NAME, "
            f"got {name!r}"
        )
    return replace(old, **changed)


def _plain(value: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _whole(name: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise BadTarget(f"expected {name} of at least 1, got {value!r}")
    return int(value)


def _dtype(name: str) -> torch.dtype:
    made: torch.dtype = getattr(torch, name, None)  # type: ignore[assignment]
    if made not in UNIT_ROUNDOFF:
        raise BadTarget(f"expected a type such as float32, got {name!r}")
    return made
