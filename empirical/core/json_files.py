"""Files of results: JSON that is the same for the same values, written whole or not at all."""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

from empirical.core.errors import UserError
from empirical.core.undefined import Undefined


def plain(value: Any) -> Any:
    """JSON values only; dataclasses become objects, Undefined becomes {"undefined": reason}.

    Raises:
        ValueError: for a number that is not finite.
        TypeError: for anything else that JSON does not hold.
    """
    if isinstance(value, Undefined):
        return {"undefined": value.reason}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a finite number or Undefined, got {value}")
        return float(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"expected a value that JSON holds, got {type(value).__name__}")


def dumps(value: Any) -> str:
    """JSON: sorted keys, two spaces, newline at the end.

    Raises:
        ValueError: for a number that is not finite.
        TypeError: for a value that JSON does not hold.
    """
    text = json.dumps(plain(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all; see `replacing`."""
    with whole_file(path) as file:
        file.write(text)


def whole_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, of bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file under a temporary name, which is `path`'s when it is complete."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Where to write a file or a folder, which takes the place of `path` once it is complete.

    It has the name of `path`, in a hidden folder beside it that is gone afterwards; a failure
    leaves no scrap. `sync`: the bytes are on the disk before the name is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    temporary = hidden / path.name
    try:
        yield temporary
        for file in temporary.iterdir() if temporary.is_dir() else [temporary]:
            file.chmod(0o644)
            if sync:
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def incomplete(path: Path, got: str) -> str:
    """The one line on a file that is not there, or not whole."""
    return (
        f"expected a complete JSON file at {path}, got {got}; run the command that wrote it again"
    )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UserError: for a missing or truncated file, or another value than an object.
    """

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no JSON number")

    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (OSError, ValueError) as error:
        raise UserError(incomplete(path, f"{type(error).__name__}: {error}")) from error
    if not isinstance(value, dict):
        raise UserError(
            f"expected a JSON object in {path}, got {type(value).__name__}; "
            "run the command that wrote it again"
        )
    return value


def file_name(kind: str, model: str, task: str) -> str:
    """`KIND-MODEL-TASK` with everything outside [A-Za-z0-9._-] replaced by `_`."""
    return "-".join([kind, *(re.sub(r"[^A-Za-z0-9._-]", "_", x) for x in (model, task))])
