"""The learning curve of the embedded GPT, drawn from its training log.

`python -m empirical.training.learning_curve LOG OUT.svg`: running accuracy and loss against steps,
the stages of the curriculum shaded. The same log gives the same bytes.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from empirical.core.command_line import single
from empirical.core.errors import UserError


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a training log.

    Raises:
        UserError: for a missing or empty file, or a line that does not parse.
    """
    try:
        lines = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines() if x]
    except (OSError, ValueError) as error:
        raise UserError(
            f"expected a training log at {path}, got {type(error).__name__}: {error}; "
            "train first, or copy the file again"
        ) from error
    if not lines:
        raise UserError(f"expected lines in {path}, got none; train first")
    return lines


def draw(log: list[dict[str, Any]], out: Path) -> None:
    """Write the figure as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "dualform", "font.size": 9}
    from matplotlib import pyplot

    figure, (top, low) = pyplot.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
    steps = [x["step"] for x in log]
    top.plot(steps, [100 * x["accuracy"] for x in log], color="tab:blue")
    top.set_ylabel("running accuracy (%)")
    top.set_ylim(0, 100)
    low.plot(steps, [x["loss"] for x in log], color="tab:red")
    low.set_ylabel("loss on labels (nats)")
    low.set_xlabel("training step")
    begin = 0
    for stage, lines in groupby(log, key=lambda x: x["stage"]):
        end = max(x["step"] for x in lines)
        for axis in (top, low):
            axis.axvspan(begin, end, color="0.5", alpha=0.12 if stage % 2 else 0.0, linewidth=0)
        begin = end
    top.set_title(
        "Embedded GPT: label accuracy on the hardest inputs of each stage (stages shaded)",
        fontsize=9,
    )
    figure.savefig(out, metadata={"Date": None})
    pyplot.close(figure)


def main(
    log: Annotated[Path, typer.Argument(help="The training log.")],
    out: Annotated[Path, typer.Argument(help="The SVG file to write.")],
) -> None:
    """Draw the learning curve of a training log."""
    draw(read_log(log), out)


if __name__ == "__main__":
    single(main)()
