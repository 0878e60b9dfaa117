"""Progress: bars on a terminal, plain lines elsewhere; both say how far a stage came."""

import io

import pytest
from rich.console import Console

from empirical.core.progress import SILENT
from empirical.core.terminal import EVERY, TerminalReporter


def reporter(terminal: bool, clock=lambda: 0.0):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, _environ={})
    return TerminalReporter(console, clock), console.file


def test_where_there_is_no_terminal_a_stage_is_one_plain_line() -> None:
    r, out = reporter(False)
    with r.stage("sst2: [zero]-shot", 5) as advance:
        advance(2)
        advance(3)
    assert out.getvalue() == "  sst2: [zero]-shot: 5 in 0.0 s\n"


def test_a_long_stage_says_now_and_then_how_far_it_is() -> None:
    now = 0.0
    r, out = reporter(False, lambda: now)
    with r.stage("slow", 4) as advance:
        for _ in range(4):
            now += 0.6 * EVERY
            advance(1)
    assert out.getvalue().splitlines() == ["  slow: 2 of 4", f"  slow: 4 in {2.4 * EVERY:.1f} s"]


def test_a_terminal_shows_a_bar_and_keeps_the_line() -> None:
    r, out = reporter(True)
    with r.stage("sst2: [zero]-shot", 5) as advance:
        advance(5)
    text = out.getvalue()
    assert "\x1b[" in text and "5/5" in text and "━" in text
    assert text.endswith("  sst2: [zero]-shot: 5 in 0.0 s\n")


@pytest.mark.parametrize("terminal", [False, True])
def test_what_ends_early_says_so_and_what_fails_is_not_called_done(terminal: bool) -> None:
    r, out = reporter(terminal)
    with r.stage("diverged", 5) as advance:
        advance(2)
    assert "  diverged: 2 of 5 in 0.0 s" in out.getvalue()
    with pytest.raises(RuntimeError, match="stop"), r.stage("broken", 5):
        raise RuntimeError("stop")
    assert "broken: " not in out.getvalue()


def test_lines_are_never_markup_nor_broken() -> None:
    r, out = reporter(False)
    r.say("[red]x[/red] " + "long " * 40)
    assert out.getvalue() == "[red]x[/red] " + "long " * 40 + "\n"


def test_silence_takes_any_step() -> None:
    SILENT.say("x")
    with SILENT.stage("x", 1) as advance:
        advance(7)
