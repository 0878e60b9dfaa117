"""The commands that would make a folder, or what it lacks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from empirical.analysis.published import TASKS
from empirical.report.results import Results

Command = tuple[str, ...]


def _parted(command: Command) -> tuple[Command, list[str], Command]:
    """What stands before the tasks, the tasks, and what stands behind them."""
    places = [i for i, x in enumerate(command) if x == "--task" and i + 1 < len(command)]
    if not places:
        return command, [], ()
    first, last = places[0], places[-1] + 2
    if last - first != 2 * len(places):  # other options between them
        return command, [], ()
    return command[:first], [command[i + 1] for i in places], command[last:]


def merged(commands: Iterable[Command]) -> tuple[str, ...]:
    """Commands as lines; those that differ in their tasks alone become one that names all."""
    tasks: dict[tuple[Command, Command], list[str]] = {}
    for command in commands:
        before, named, behind = _parted(command)
        tasks.setdefault((before, behind), []).extend(named)
    lines = []
    for (before, behind), named in tasks.items():
        order = [*(t for t in TASKS if t in named), *(t for t in named if t not in TASKS)]
        options = [x for t in dict.fromkeys(order) for x in ("--task", t)]
        lines.append(shlex.join([*before, *options, *behind]))
    return tuple(lines)


def folded(commands: Iterable[Command], option: str, comma: bool = False) -> tuple[Command, ...]:
    """Commands that differ in the values of one option alone become one with all of its values.

    `comma`: the option stands once, its values between commas; otherwise it is repeated.
    """
    found: dict[tuple[int, Command], dict[str, None]] = {}
    for command in commands:
        places = [i for i, x in enumerate(command[:-1]) if x == option]
        taken = {j for i in places for j in (i, i + 1)}
        rest = tuple(x for i, x in enumerate(command) if i not in taken)
        values = found.setdefault((places[0] if places else len(rest), rest), {})
        values.update(dict.fromkeys(command[i + 1] for i in places))
    out = []
    for (place, rest), values in found.items():
        each = [",".join(values)] if comma and values else list(values)
        out.append((*rest[:place], *(x for v in each for x in (option, v)), *rest[place:]))
    return tuple(out)


def joined(command: Command) -> str:
    """One command as a line for a shell."""
    return shlex.join(command)


def made_by(results: Results) -> tuple[str, ...]:
    """The commands of the evidence, or of the records where there is none."""
    return merged(x.provenance.command for x in results.evidence or results.records)


def with_controls(results: Results, control: str = "all") -> str:
    """The commands of the records, with a control asked for."""
    return "\n".join(merged((*r.provenance.command, "--control", control) for r in results.records))
