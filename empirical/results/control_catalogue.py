"""The controls of the study by name: what each replaces, and the question it answers.

Source: section 4 of the protocol, which follows Deutch et al. (arXiv 2311.07772), Shen et al.
(2310.08540) and what readers of the paper asked its authors for. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from empirical.core.errors import UserError

Kind = Literal["finetuning", "context", "positions", "model", "ranks", "study"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """`kind`: what it replaces, or "study" where it is a measurement of its own."""

    name: str
    kind: Kind
    question: str


_ALL = (
    Control(name="ft_random", kind="finetuning",
            question="Would a random change of the same weights, of the same norm, do as well?"),
    Control(name="ft_other_task", kind="finetuning",
            question="Would finetuning on demonstrations of another task do as well?"),
    Control(name="ft_shuffled_labels", kind="finetuning",
            question="Would finetuning on the same texts with labels exchanged do as well?"),
    Control(name="ft_other_seed", kind="finetuning",
            question="Would finetuning on other demonstrations of the task do as well?"),
    Control(name="layer_causal", kind="finetuning",
            question="Is finetuning without gradients between layers (LCGD) closer?"),
    Control(name="icl_random_tokens", kind="context",
            question="Does a context of random tokens give the same similarity?"),
    Control(name="icl_wrong_labels", kind="context",
            question="Does a context of wrongly labelled demonstrations give the same?"),
    Control(name="icl_other_task", kind="context",
            question="Does a context of another task's demonstrations give the same?"),
    Control(name="position_shift", kind="positions",
            question="What remains when zero-shot is read at the positions of in-context?"),
    Control(name="position_only", kind="positions",
            question="What does the shift of positions score in the place of the context?"),
    Control(name="position_prompt", kind="positions",
            question="Does the other recorded token (that which predicts, or the label) agree?"),
    Control(name="untrained", kind="model",
            question="What does a fully random model of the same architecture score?"),
    Control(name="random_blocks", kind="model",
            question="What do random blocks between trained embeddings and norms score?"),
    Control(name="kendall_unfinetuned", kind="ranks",
            question="Does Q'q rank the tokens the same before any finetuning?"),
    Control(name="kendall_inputs", kind="ranks",
            question="What gives the pairing of the dual form itself, of layer inputs?"),
    Control(name="order", kind="study",
            question="How much do answers depend on the order of demonstrations, in context and "
                     "finetuned?"),
    Control(name="rate", kind="study", question="How does every metric depend on the rate?"),
    Control(name="delta_w", kind="study",
            question="How similar are the two weight changes themselves, head by head?"),
    Control(name="attention_maps", kind="study",
            question="Where does the asking token look, zero-shot, finetuned and in context?"),
    Control(name="dose", kind="study",
            question="What would each metric read if finetuning were in part the in-context "
                     "update?"),
)  # fmt: skip
# How the controls of positions say that a model's attention sees distances alone.
NO_POSITIONS = "expected a model whose positions can be shifted"
CONTROLS: Mapping[str, Control] = {c.name: c for c in _ALL}
EVERY = "all"


def chosen_controls(names: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, in the catalogue's order; `all` stands for every one.

    Raises:
        UserError: for a name that is not there.
    """
    unknown = [n for n in names if n not in CONTROLS and n != EVERY]
    if unknown:
        raise UserError(
            f"expected a control among {', '.join(CONTROLS)} or {EVERY}, got {unknown[0]!r}; "
            "choose one of them"
        )
    return tuple(n for n in CONTROLS if EVERY in names or n in names)
