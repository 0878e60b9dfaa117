"""The study: a model and tasks in; records, comparisons, verdicts and a report out.

A name is loaded, with torch and transformers where it needs them, when it is asked for. Nothing
else is promised: the modules behind these names may move.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "load": "empirical.models.loading",
    "TASKS": "empirical.data.paper_tasks",
    "get_task": "empirical.data.paper_tasks",
    "zero_shot": "empirical.inference.settings",
    "in_context": "empirical.inference.settings",
    "fine_tuned": "empirical.inference.settings",
    "check_layers": "empirical.identities.check_layers",
    "Request": "empirical.study.request",
    "open_study": "empirical.study.request",
    "run_cells": "empirical.study.run_study",
    "compare": "empirical.analysis.comparisons",
    "verdicts": "empirical.analysis.verdicts",
    "write_report": "empirical.report.write",
}

if TYPE_CHECKING:
    from empirical.analysis.comparisons import compare
    from empirical.analysis.verdicts import verdicts
    from empirical.data.paper_tasks import TASKS, get_task
    from empirical.identities.check_layers import check_layers
    from empirical.inference.settings import fine_tuned, in_context, zero_shot
    from empirical.models.loading import load
    from empirical.report.write import write_report
    from empirical.study.request import Request, open_study
    from empirical.study.run_study import run_cells
else:

    def __getattr__(name: str) -> Any:
        """A public name, loaded when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "Request",
    "TASKS",
    "check_layers",
    "compare",
    "fine_tuned",
    "get_task",
    "in_context",
    "load",
    "open_study",
    "run_cells",
    "verdicts",
    "write_report",
    "zero_shot",
]


def __dir__() -> list[str]:
    return __all__
