"""What a statement is, and the vocabulary its two sides may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Side = Callable[[Any, Mapping[str, Any]], Any]
States = Mapping[str, Any]
Step = Callable[..., States]
Integers = tuple[tuple[int, ...], ...]


class Ops(Protocol):
    """Everything beyond `@ + - .T` that a side may use; an interpreter implements these.

    Matrices are whatever the interpreter calls a matrix; scalars come from `inner`, `half_square`
    and `loss` and may be added, negated and scaled.
    """

    def hcat(self, *blocks: Any) -> Any:
        """[A B ...], blocks side by side."""

    def vcat(self, *blocks: Any) -> Any:
        """Blocks over each other."""

    def scale(self, c: Any, a: Any) -> Any:
        """c A for a 1 x 1 matrix c and a matrix or scalar A."""

    def zeros_like(self, a: Any) -> Any:
        """The zero matrix of A's shape."""

    def empty(self, a: Any) -> Any:
        """The matrix with A's rows and no columns, from which a recurrence may grow one."""

    def identity(self, a: Any) -> Any:
        """The identity of as many rows as A has."""

    def ones(self, a: Any) -> Any:
        """A row of ones, one for each column of A."""

    def diag(self, a: Any) -> Any:
        """The diagonal matrix of a column."""

    def times(self, a: Any, b: Any) -> Any:
        """The entry-wise product."""

    def khatri_rao(self, a: Any, b: Any) -> Any:
        """The column-wise Kronecker product, columns a_t (x) b_t."""

    def causal(self, a: Any) -> Any:
        """The square matrix A with its entries (s, t) kept for s <= t, zero elsewhere."""

    def exp(self, a: Any) -> Any:
        """The exponential of every entry."""

    def activation(self, a: Any) -> Any:
        """Any function of one number, applied to every entry."""

    def inverse(self, a: Any) -> Any:
        """The inverse of a square matrix, which a statement that uses it takes to exist."""

    def trace(self, a: Any) -> Any:
        """The 1 x 1 matrix of the sum of the diagonal."""

    def inner(self, a: Any, b: Any) -> Any:
        """The scalar tr(A^T B)."""

    def half_square(self, a: Any, weights: Any = None) -> Any:
        """The scalar tr(A^T A) / 2; with a column of weights w, tr(A diag(w) A^T) / 2."""

    def loss(self, outputs: Any, targets: Any) -> Any:
        """The scalar l(Y; T), any function that is differentiable in Y."""

    def output_gradient(self, outputs: Any, targets: Any) -> Any:
        """The matrix of partial derivatives of l(Y; T) in the entries of Y."""

    def grad(self, f: Callable[[Any], Any], at: Any) -> Any:
        """The gradient of the scalar function f of a matrix, derived by the interpreter."""

    def fold(self, step: Step, start: States, *columns: Any) -> Mapping[str, Any]:
        """The last states of a recurrence over blocks of columns, left to right.

        `step(states before, block of each matrix of columns)` gives the states after. A state that
        starts `empty` grows by the width of the block in every step.
        """

    def scan(self, step: Step, start: States, *columns: Any) -> Mapping[str, Any]:
        """As `fold`, one column at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`lhs == rhs` over `variables` (name: (rows, columns)), and a near miss to refuse.

    The near miss is a plausible right side that is false for generic matrices. A statement with
    claim "false" has a witness instead: integers at which its sides differ. `assumes` is what a
    statement takes for granted beside its shapes, such as inverses that exist.
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
    assumes: str = ""
    remark: str = ""
