"""What a statement is, and the vocabulary its two sides may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Side = Callable[[Any, Mapping[str, Any]], Any]
Integers = tuple[tuple[int, ...], ...]


class Ops(Protocol):
    """Everything beyond `@ + - .T` that a side may use; an interpreter implements these.

    Matrices are whatever the interpreter calls a matrix; scalars come from `inner`, `half_square`
    and `loss` and may be added and negated.
    """

    def hcat(self, *blocks: Any) -> Any:
        """[A B ...], blocks side by side."""

    def scale(self, c: Any, a: Any) -> Any:
        """c A for a 1 x 1 matrix c."""

    def zeros_like(self, a: Any) -> Any:
        """The zero matrix of A's shape."""

    def inner(self, a: Any, b: Any) -> Any:
        """The scalar tr(A^T B)."""

    def half_square(self, a: Any) -> Any:
        """The scalar tr(A^T A) / 2."""

    def loss(self, outputs: Any, targets: Any) -> Any:
        """The scalar l(Y; T), any function that is differentiable in Y."""

    def output_gradient(self, outputs: Any, targets: Any) -> Any:
        """The matrix of partial derivatives of l(Y; T) in the entries of Y."""

    def grad(self, f: Callable[[Any], Any], at: Any) -> Any:
        """The gradient of the scalar function f of a matrix, derived by the interpreter."""

    def fold(self, step: Callable[..., Any], start: Any, *columns: Any) -> Any:
        """`state = step(state, block of each matrix of columns)`, left to right; the last state."""

    def collect(
        self, column: Callable[..., Any], step: Callable[..., Any], start: Any, *columns: Any
    ) -> Any:
        """[c_1 c_2 ...], c_t = column(state before step t, block t of each matrix)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`lhs == rhs` over `variables` (name: (rows, columns)), and a near miss to refuse.

    The near miss is a plausible right side that is false for generic matrices. A statement with
    claim "false" has a witness instead: integers at which its sides differ.
    """

    id: str
    title: str
    source: str
    variables: Mapping[str, tuple[str, str]]
    lhs: Side
    rhs: Side
    near_miss: Side | None
    claim: Literal["true", "false"] = "true"
    witness: Mapping[str, Integers] | None = None
    remark: str = ""
