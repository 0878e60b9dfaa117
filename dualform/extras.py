"""Which extra installs what, and the sentence for a module that is not there."""

from collections.abc import Mapping
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "kit": ("hypothesis", "pytest"),
    "proofs": ("sympy",),
    "report": ("jinja2", "latex2mathml", "markupsafe", "matplotlib"),
    "study": (
        "accelerate",
        "datasets",
        "huggingface_hub",
        "pydantic",
        "rich",
        "safetensors",
        "scipy",
        "tokenizers",
        "transformers",
        "typer",
    ),
}


class MissingExtra(ImportError):
    """A module that only an extra installs is not there; the message names the extra."""


def missing(error: ImportError) -> MissingExtra | None:
    """What to say of a failed import; None when no extra would cure it."""
    if isinstance(error, MissingExtra):
        return error
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    extra = next((e for e, modules in EXTRAS.items() if module in modules), None)
    return None if extra is None else MissingExtra(_sentence(module, extra), name=module)


def require(extra: str) -> None:
    """Refuse at once what would otherwise fail at its end.

    Raises:
        MissingExtra: when a module of the extra is not installed.
    """
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise MissingExtra(_sentence(module, extra), name=module)


def _sentence(module: str, extra: str) -> str:
    return f'expected {module} to be installed, got none; run `pip install "dualform[{extra}]"`'
