"""`pytest --dual-form-target package.module:function --dual-form-variant delta_rule`.

Runs the checks of that function, and no other test. Without the option nothing heavy is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from dualform.extras import MissingExtra, require

TARGET, VARIANT, SET = "--dual-form-target", "--dual-form-variant", "--dual-form-set"
EXAMPLES = "--dual-form-examples"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The four options."""
    group = parser.getgroup("dual form", "conformance of an attention implementation")
    group.addoption(
        TARGET,
        metavar="MODULE:NAME",
        help="a function (q, k, v, **gates), or an Implementation, to check",
    )
    group.addoption(VARIANT, metavar="NAME", help="the rule it claims, such as delta_rule")
    group.addoption(
        EXAMPLES, type=int, default=40, metavar="N", help="examples a check, 40 if not given"
    )
    group.addoption(
        SET,
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="a convention, such as axes='time head', query_scale='inverse sqrt', decay=log "
        "or names.decay=g; may be given several times",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse one option without the other, and both without the extra `kit`.

    Raises:
        pytest.UsageError: when only one of target and rule is given, or Hypothesis is missing.
    """
    target, rule = config.getoption(TARGET), config.getoption(VARIANT)
    if (target is None) != (rule is None):
        raise pytest.UsageError(f"expected {TARGET} with {VARIANT}, got one alone; give both")
    if target is not None:
        try:
            require("kit")
        except MissingExtra as lacking:
            raise pytest.UsageError(str(lacking)) from lacking


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """With a target, its checks alone are run: no other test is collected."""
    return True if config.getoption(TARGET) is not None else None


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """One test a check.

    Raises:
        pytest.UsageError: when the target cannot be loaded, or the rule or a convention is unknown.
    """
    if session.config.getoption(TARGET) is not None:
        items.extend(_Checks.from_parent(session, name="dual form").collect())


class _Checks(pytest.Collector):
    """The checks of one target."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item a check.

        Raises:
            pytest.UsageError: see `pytest_collection_modifyitems`.
        """
        from dualform.testing import checks_of, loading

        option = self.config.getoption
        here = str(self.config.invocation_params.dir)
        if here not in sys.path:  # a target beside the caller, as `python -m pytest` would find it
            sys.path.insert(0, here)
        try:
            implementation = loading.implementation(option(TARGET), option(VARIANT), option(SET))
            names = checks_of(implementation, option(VARIANT))
        except loading.BadTarget as error:
            raise pytest.UsageError(str(error)) from error
        for name in names:
            yield _Check.from_parent(self, name=name, implementation=implementation)


class _Check(pytest.Item):
    """One check of one target."""

    def __init__(self, *, implementation: Any, **more: Any) -> None:
        super().__init__(**more)
        self.implementation = implementation

    def runtest(self) -> None:
        """Run it."""
        from dualform.testing import CHECKS

        option = self.config.getoption
        CHECKS[self.name](self.implementation, option(VARIANT), examples=option(EXAMPLES))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message alone for a violated identity, which says all there is to say."""
        from dualform.testing import ConformanceError, Uninformative

        if isinstance(excinfo.value, ConformanceError | Uninformative):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands in reports."""
        option = self.config.getoption
        return self.path, None, f"dual form: {option(TARGET)} as {option(VARIANT)}: {self.name}"
