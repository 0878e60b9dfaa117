"""What `make golden` sets aside, and what it does not."""

import json
from pathlib import Path

from tests.golden import differences


def written(folder: Path, *, commit: str, value: float, key: str, tensor: bytes) -> Path:
    """A record, a clock and a capture whose folder has a hash in its name."""
    captures = folder / f"captures/ft-m-{key}"
    captures.mkdir(parents=True)
    (captures / "part.safetensors").write_bytes(tensor)
    record = {"provenance": {"commit": commit, "folder": str(folder)}, "value": value}
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "timing.json").write_text(json.dumps({"seconds": commit}), encoding="utf-8")
    return folder


def test_only_what_names_code_clock_or_folder_is_set_aside(tmp_path: Path) -> None:
    same = {"value": 1.0, "tensor": b"abc"}
    one = written(tmp_path / "a", commit="1", key="0" * 12, **same)
    two = written(tmp_path / "b", commit="2", key="f" * 12, **same)
    assert list(differences(one, two)) == []
    moved = {"value": 1.0 + 2**-52, "tensor": b"abd"}
    three = written(tmp_path / "c", commit="1", key="0" * 12, **moved)
    (three / "more.txt").write_text("x", encoding="utf-8")
    assert list(differences(one, three)) == [
        "differs: captures/ft-m-KEY/part.safetensors",
        "only after: more.txt",
        "differs: record.json",
    ]
