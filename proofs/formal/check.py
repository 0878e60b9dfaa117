"""Statements as Coq lemmas, checked by `coqc`: `formal_check`.

What is true becomes a lemma over any commutative ring, with each gradient shown to be one by an
exact expansion and each recurrence done by induction; what is false, near misses among it, a lemma
that its sides differ at integers. A lemma counts when the kernel accepted it and it rests on no
axiom.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from proofs.derivations import DERIVATIONS
from proofs.formal.coq import Lemmas, NotFormal
from proofs.formal.lemmas import lemmas
from proofs.formal.refutations import refutation
from proofs.statements import Statement

CLOSED = "Closed under the global context"
SENTENCE_SECONDS = 60
_LIBRARY = "Dualform"
_GROUPS = 3  # files for each worker; a file costs a second to load MathComp
_HEAD = f"""From mathcomp Require Import all_ssreflect all_algebra.
From {_LIBRARY} Require Import {_LIBRARY}.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory. Local Open Scope ring_scope.
Set Default Timeout {SENTENCE_SECONDS}.
(* Columns that a recurrence walks over are numbered from the newest to the oldest: what the
   catalogue appends is prepended, as then no two sizes have to be shown equal. *)
"""


class CoqMissing(RuntimeError):
    """There is no Coq with MathComp to check formal proofs."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"expected Coq with MathComp for formal proofs, got {found}; install it, on Debian and "
            "Ubuntu: apt install coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FormalVerdict:
    """`status` is checked, refused or not formal; `detail` says why where it is not checked.

    `lemmas` are those that the kernel accepted without an axiom, the refutation of the near miss
    or the false claim last; `seconds` is what Coq took for all of the statement's.
    """

    id: str
    status: str
    detail: str
    lemmas: tuple[str, ...]
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What `coqc` made of one statement's text."""

    accepted: list[str] = field(default_factory=list)
    refusal: str = ""
    seconds: float = 0.0


def formal_check(
    statements: Sequence[Statement], folder: Path, workers: int = 2
) -> list[FormalVerdict]:
    """One verdict for each statement, in order; `folder` holds the Coq files afterwards.

    Raises:
        CoqMissing: saying what to install.
    """
    texts: dict[str, Lemmas] = {}
    reasons: dict[str, str] = {}
    for statement in statements:
        try:
            texts[statement.id] = all_lemmas(statement)
        except NotFormal as reason:
            reasons[statement.id] = str(reason)
    outcomes = check_lemmas(texts, folder, workers)
    return [_verdict(s.id, reasons.get(s.id), texts, outcomes) for s in statements]


def all_lemmas(statement: Statement) -> Lemmas:
    """A statement's lemmas with the refutation of its near miss, or of itself where it is false.

    Raises:
        NotFormal: saying why there are none.
    """
    if statement.claim == "false":
        return refutation(statement, statement.rhs)
    made = lemmas(statement, DERIVATIONS.get(statement.id))
    if statement.near_miss is None:
        return made
    other = refutation(statement, statement.near_miss)
    return Lemmas(text=f"{made.text}\n{other.text}", names=(*made.names, *other.names))


def _verdict(
    name: str, reason: str | None, texts: Mapping[str, Lemmas], outcomes: Mapping[str, Outcome]
) -> FormalVerdict:
    if reason is not None:
        return FormalVerdict(id=name, status="not formal", detail=reason, lemmas=(), seconds=0.0)
    outcome = outcomes[name]
    missing = [n for n in texts[name].names if n not in outcome.accepted]
    detail = outcome.refusal or (f"no word of {', '.join(missing)} from Coq" if missing else "")
    return FormalVerdict(
        id=name,
        status="refused" if detail else "checked",
        detail=detail,
        lemmas=tuple(outcome.accepted),
        seconds=outcome.seconds,
    )


def check_lemmas(texts: Mapping[str, Lemmas], folder: Path, workers: int = 2) -> dict[str, Outcome]:
    """What `coqc` makes of texts, by their names; a refused one does not stop the others.

    Raises:
        CoqMissing: saying what to install.
    """
    if shutil.which("coqc") is None:
        raise CoqMissing("no `coqc` on PATH")
    folder.mkdir(parents=True, exist_ok=True)
    library = files("proofs.formal").joinpath(f"{_LIBRARY}.v").read_text(encoding="utf-8")
    (folder / f"{_LIBRARY}.v").write_text(library, encoding="utf-8")
    run = _coqc(folder, f"{_LIBRARY}.v")
    if run.returncode != 0:
        raise CoqMissing(f"a `coqc` that says: {run.stderr.strip()[:300]}")
    groups = _balanced(texts, workers)
    with ThreadPoolExecutor(max_workers=max(1, min(workers, os.cpu_count() or 1))) as pool:
        jobs = [
            pool.submit(_check_group, {n: texts[n] for n in group}, folder, f"identities_{i}.v")
            for i, group in enumerate(groups, 1)
        ]
        return {name: outcome for job in jobs for name, outcome in job.result().items()}


def _balanced(texts: Mapping[str, Lemmas], workers: int) -> list[list[str]]:
    """Names in groups of about equal length of text: some for each worker, who takes the next."""
    count = max(1, min(_GROUPS * workers, len(texts)))
    groups: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for name in texts:
        smallest = sizes.index(min(sizes))
        groups[smallest].append(name)
        sizes[smallest] += len(texts[name].text)
    return [group for group in groups if group]


def _check_group(texts: Mapping[str, Lemmas], folder: Path, file: str) -> dict[str, Outcome]:
    """One file of lemmas; it is read again without a statement that is refused."""
    outcomes = {name: Outcome() for name in texts}
    rest = dict(texts)
    while rest:
        text, starts = _file(rest)
        (folder / file).write_text(text, encoding="utf-8")
        run = _coqc(folder, file)
        for name, seconds in _times(run.stdout, rest, starts).items():
            outcomes[name].seconds = seconds
        if run.returncode == 0:
            _read_assumptions(run.stdout, rest, outcomes, folder, file)
            break
        refused, words = _refused(run, rest, text, starts)
        outcomes[refused].refusal = words
        del rest[refused]
    return outcomes


def _file(texts: Mapping[str, Lemmas]) -> tuple[str, list[int]]:
    """A file's text, and the byte offset at which each statement begins.

    It ends with all lemmas in one term, as Coq takes a quarter of a second for the assumptions of
    each by itself.
    """
    made, starts = _HEAD, []
    for i, lemma in enumerate(texts.values()):
        starts.append(len(made.encode()))
        own = "".join(f", @{name}" for name in lemma.names)
        made += f"{lemma.text}\nDefinition lemmas_{i} := (tt{own}).\n"
    starts.append(len(made.encode()))
    together = "".join(f", @lemmas_{i}" for i in range(len(texts)))
    made += f"Definition all_lemmas := (tt{together}).\nPrint Assumptions all_lemmas.\n"
    return made, starts


def _read_assumptions(
    output: str, texts: Mapping[str, Lemmas], outcomes: dict[str, Outcome], folder: Path, file: str
) -> None:
    """Accept the lemmas of a file that rest on no axiom; ask of each where not all do."""
    closed = _TIME.sub("", output).split() == CLOSED.split()
    said = {} if closed else _one_by_one(texts, folder, file)
    for name, lemma in texts.items():
        for own in lemma.names:
            words = CLOSED if closed else said.get(own, "nothing that Coq told")
            if words == CLOSED:
                outcomes[name].accepted.append(own)
            else:
                outcomes[name].refusal = f"{own} rests on what is not proved: {words}"


def _one_by_one(texts: Mapping[str, Lemmas], folder: Path, file: str) -> dict[str, str]:
    """What Coq says each lemma of a compiled file rests on."""
    base = file.removesuffix(".v")
    made = f"From {_LIBRARY} Require Import {base}.\n"
    for lemma in texts.values():
        for name in lemma.names:
            made += f'Goal True. idtac "lemma: {name}". Abort.\nPrint Assumptions {name}.\n'
    (folder / f"{base}_assumptions.v").write_text(made, encoding="utf-8")
    output = _TIME.sub("", _coqc(folder, f"{base}_assumptions.v").stdout)
    pieces = re.split(r"^lemma: (\S+)$", output, flags=re.MULTILINE)
    return {
        name: " ".join(said.split()) for name, said in zip(pieces[1::2], pieces[2::2], strict=True)
    }


def _coqc(folder: Path, file: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["coqc", "-q", "-w", "none", "-time", "-Q", ".", _LIBRARY, file],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


_TIME = re.compile(r"^Chars (\d+) - \d+ \[.*\] ([0-9.]+) secs.*$", re.MULTILINE)
_ERROR = re.compile(r"line (\d+), characters [^:]*:\s*(.*)", re.DOTALL)


def _owner(offset: int, names: Sequence[str], starts: Sequence[int]) -> str | None:
    """The statement whose text has this offset."""
    before = [n for n, start in zip(names, starts, strict=False) if start <= offset]
    return before[-1] if before and offset < starts[-1] else None


def _times(output: str, texts: Mapping[str, Lemmas], starts: Sequence[int]) -> dict[str, float]:
    """Seconds by statement."""
    made = dict.fromkeys(texts, 0.0)
    for offset, seconds in _TIME.findall(output):
        name = _owner(int(offset), list(texts), starts)
        if name is not None:
            made[name] += float(seconds)
    return made


def _refused(
    run: subprocess.CompletedProcess[str],
    texts: Mapping[str, Lemmas],
    text: str,
    starts: Sequence[int],
) -> tuple[str, str]:
    """The statement at which Coq stopped, and its words."""
    found = _ERROR.search(run.stderr)
    line, words = (int(found[1]), found[2]) if found else (1, run.stderr)
    offset = len("\n".join(text.split("\n")[: line - 1]).encode()) + 1
    name = _owner(offset, list(texts), starts) or next(iter(texts))
    return name, " ".join(words.split())[:400] or f"coqc ended with {run.returncode}"
