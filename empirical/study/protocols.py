"""How seed and rate are chosen: named settings of the study (standard library only).

Source: arXiv 2212.10559, its released code, and section 4 of Deutch et al. 2311.07772: the authors
chose the seed by ICL accuracy and the rate by FT accuracy, both on the evaluation rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from empirical.core.errors import UserError

Value = TypeVar("Value", int, float)
Chosen = Literal["training", "evaluation"]
# {1..9} x {.1, .01, .001, .0001}, ascending: of equals, the smallest rate is taken.
GRID = tuple(sorted(float(f"{m}e-{e}") for m in range(1, 10) for e in range(1, 5)))
QUICK_RATES = (0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Seeds and rates to run, and on which rows one of several is chosen.

    `rates_on`: on held-out training rows, or on the evaluation rows as the authors did. `one_seed`:
    of the seeds, that with the best ICL accuracy on the evaluation rows; otherwise all are run.
    """

    name: str
    seeds: Mapping[str, tuple[int, ...]] | tuple[int, ...]
    rates: Mapping[str, tuple[float, ...]] | tuple[float, ...]
    rates_on: Chosen = "training"
    one_seed: bool = False

    def seeds_of(self, task: str) -> tuple[int, ...]:
        """Seeds of a task.

        Raises:
            UserError: for a task that this protocol does not know.
        """
        return _of(self.name, self.seeds, task)

    def rates_of(self, task: str) -> tuple[float, ...]:
        """Rates of a task.

        Raises:
            UserError: for a task that this protocol does not know.
        """
        return _of(self.name, self.rates, task)


def _of(
    name: str, found: Mapping[str, tuple[Value, ...]] | tuple[Value, ...], task: str
) -> tuple[Value, ...]:
    if isinstance(found, tuple):
        return found
    if task not in found:
        raise UserError(
            f"expected a task among {', '.join(found)} for the protocol {name}, got {task!r}; "
            "choose one of them, or another protocol"
        )
    return found[task]


_TASKS = ("sst2", "sst5", "mr", "subj", "agnews", "cb")


def _printed(name: str, seeds: tuple[int, ...], rates: tuple[float, ...]) -> Protocol:
    return Protocol(
        name=name,
        seeds={task: (seed,) for task, seed in zip(_TASKS, seeds, strict=True)},
        rates={task: (rate,) for task, rate in zip(_TASKS, rates, strict=True)},
    )


PROTOCOLS: Mapping[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(name="quick", seeds=(1,), rates=QUICK_RATES),
        _printed("published-1.3B", (2, 5, 5, 4, 3, 3), (0.0005, 0.00016, 0.003, 0.003, 0.2, 0.08)),
        _printed("published-2.7B", (7, 5, 1, 4, 3, 3), (0.007, 0.04, 0.001, 0.002, 0.2, 0.01)),
        Protocol(
            name="published-search",
            seeds=tuple(range(1, 8)),
            rates=GRID,
            rates_on="evaluation",
            one_seed=True,
        ),
        Protocol(name="sound", seeds=(1, 2, 3), rates=GRID),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UserError: when there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(
            f"expected a protocol among {', '.join(PROTOCOLS)}, got {name!r}; choose one of them"
        )
    return PROTOCOLS[name]


def chosen(name: str, seeds: tuple[int, ...] | None, rates: tuple[float, ...] | None) -> Protocol:
    """A protocol with a user's own seeds or rates in place of its own.

    Raises:
        UserError: for an unknown protocol, or seeds or rates beside printed ones.
    """
    found = get_protocol(name)
    for option, given, own in (("--seed", seeds, found.seeds), ("--rates", rates, found.rates)):
        if given is not None and not isinstance(own, tuple):
            raise UserError(
                f"expected no {option} with --protocol {name}, whose own are printed in the paper, "
                f"got {','.join(map(str, given))}; leave it away, or choose another protocol"
            )
    return Protocol(
        name=name,
        seeds=found.seeds if seeds is None else seeds,
        rates=found.rates if rates is None else rates,
        rates_on=found.rates_on,
        one_seed=found.one_seed,
    )
