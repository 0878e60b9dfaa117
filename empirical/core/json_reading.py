"""Files of results read again: frozen dataclasses from JSON, by pydantic, strictly.

What `json_files.dumps` writes of a dataclass, `read` reads; everything else is refused in one line
that names the file and the place in it.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import PlainValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator, core_schema

from empirical.core.errors import UserError
from empirical.core.json_files import incomplete, read_object
from empirical.core.undefined import Undefined

LONGEST = 600  # characters of what came instead, in a message
T = TypeVar("T")


def unplain(value: Any) -> Any:
    """JSON values with `Undefined` where they say so.

    Raises:
        ValueError: for a number that is not finite.
    """
    if isinstance(value, list):
        return [unplain(x) for x in value]
    if isinstance(value, dict):
        if set(value) == {"undefined"}:
            return Undefined(str(value["undefined"]))
        return {k: unplain(x) for k, x in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("finite numbers")
    return value


AnyJson = Annotated[Any, PlainValidator(unplain)]  # in a type that is read: whatever JSON holds


def read(path: Path, kind: type[T]) -> T:
    """A dataclass again from the file that `dumps` made of it.

    All of its keys have to be there and no others, with values of the declared types. A field
    `schema: Literal[N]` says which version is read.

    Raises:
        UserError: for a missing, truncated or foreign file, or another schema version; the line
            names the place of the first thing that is wrong.
    """
    try:
        found: T = _validator(kind).validate_json(path.read_bytes())  # type: ignore[arg-type] # hashable
    except OSError as error:
        raise UserError(incomplete(path, f"{type(error).__name__}: {error}")) from error
    except ValidationError as error:
        raise UserError(_refusal(path, kind, error.errors(include_url=False))) from error
    return found


def unexpected(path: Path, where: str, expected: str, got: Any) -> str:
    """The one line on a file that holds something else than expected."""
    text = repr(got)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return (
        f"expected {expected} at {where} of {path}, got {text}; run the command that wrote it again"
    )


_STRICT: core_schema.CoreConfig = {
    "strict": True,
    "extra_fields_behavior": "forbid",
    "allow_inf_nan": False,
}
_REASON = core_schema.dataclass_field(
    "reason", core_schema.str_schema(), validation_alias="undefined"
)
_UNDEFINED = core_schema.dataclass_schema(
    Undefined,
    core_schema.dataclass_args_schema("Undefined", [_REASON]),
    ["reason"],
    config=_STRICT,
)


@cache
def _validator(kind: type) -> SchemaValidator:
    return SchemaValidator(_strict(TypeAdapter(kind).core_schema))


def _strict(schema: Any) -> Any:
    """Pydantic's own schema of a dataclass, made strict; without defaults, as files hold all."""
    if isinstance(schema, list):
        return [_strict(x) for x in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "default":
        return _strict(schema["schema"])
    if schema.get("cls") is Undefined:
        return _UNDEFINED | {k: v for k, v in schema.items() if k == "ref"}
    made = {k: _strict(v) for k, v in schema.items()}
    return made | {"config": _STRICT} if schema.get("type") == "dataclass" else made


_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "tuple_type": "a list",
    "list_type": "a list",
    "literal_error": "one of {expected}",
    "too_long": "{max_length} values",
    "value_error": "{error}",
}
_KEYS = ("missing", "unexpected_keyword_argument")


def _refusal(path: Path, kind: type, errors: Sequence[ErrorDetails]) -> str:
    """The schema version, where it is another one; else the first thing that is wrong."""
    value = read_object(path)
    versions = get_args(get_type_hints(kind).get("schema"))
    if versions and value.get("schema") not in versions:
        return unexpected(path, "schema", f"version {versions[0]}", value.get("schema"))
    # Where an object stands for a number, what is said of it as `Undefined` is meant.
    first = next(e for e in errors if e["type"] != "float_type" or not isinstance(e["input"], dict))
    if first["type"] == "json_invalid":
        return incomplete(path, first["msg"])
    if first["type"] in _KEYS:
        return _other_keys(path, value, first["loc"][:-1], errors)
    words = _EXPECTED.get(first["type"])
    expected = first["msg"] if words is None else words.format(**first.get("ctx", {}))
    return unexpected(path, _where(_places(first["loc"])), expected, first["input"])


def _other_keys(
    path: Path, value: Any, at: Sequence[int | str], errors: Sequence[ErrorDetails]
) -> str:
    """What is missing of an object (or of a list of one length), and what it has too much."""
    for place in _places(at):
        value = value[place]
    here = [e for e in errors if e["type"] in _KEYS and e["loc"][:-1] == at]
    missing = {e["loc"][-1] for e in here if e["type"] == "missing"}
    if not isinstance(value, dict):
        return unexpected(path, _where(_places(at)), f"{len(value) + len(missing)} values", value)
    wanted = ({*value} - {e["loc"][-1] for e in here}) | missing
    return unexpected(path, _where(_places(at)), f"the keys {sorted(wanted)}", sorted(value))


def _places(at: Sequence[int | str]) -> list[int | str]:
    """Without the names of the two branches of `Number`."""
    return [x for x in at if x not in ("float", "Undefined")]


def _where(places: Sequence[int | str]) -> str:
    return ".".join(map(str, places)) or "the top level"
