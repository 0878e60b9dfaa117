"""A saved tiny model and a folder of tiny tasks, for the tests that go through the command line."""

import json
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner, Result

from empirical.cli import app
from tests.support.models.tiny_models import tiny, tokenizer

ROWS = 14


def save_model(folder: Path, positions: int = 512) -> Path:
    """The tiny float32 model with its tokenizer, as a folder that loads."""
    tiny(torch.float32, positions).model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def save_data(folder: Path, tasks: tuple[str, ...] = ("mr", "cb"), n: int = ROWS) -> Path:
    """n rows of every split of every task."""
    for task in tasks:
        (folder / task).mkdir(parents=True)
        for split in ("train", "validation"):
            lines = [json.dumps(_row(task, split, i)) for i in range(n)]
            (folder / task / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _row(task: str, split: str, i: int) -> dict[str, Any]:
    text = f"{split[0]} {'abc'[i % 3]}{i}"
    if task == "cb":
        return {"premise": text, "hypothesis": f"h{i}", "label": i % 3}
    return {"text": text, "label": i % 2}


def dualform(*args: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(a) for a in args])


def error_line(result: Result, status: int = 2) -> str:
    """The only line on standard error of a run that ended with `status`, and no traceback."""
    assert result.exit_code == status, (result.exit_code, result.output, result.exception)
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    return line
