"""The report of trained models: its numbers are those of sums by hand, and what is missing is said.

The models are made up (tests/support/results/momentum.py), with planted effects of their layers.
"""

import csv
import io
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas

from empirical.analysis.momentum.compare import compare
from empirical.analysis.published import MOMENTUM_ACCURACY, MOMENTUM_PERPLEXITY, MOMENTUM_TASKS
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, write_text
from empirical.report import names, write_report
from empirical.report.analysis import analyse
from empirical.report.figures.momentum import curves as momentum_curves
from empirical.report.figures.momentum import eta as momentum_eta
from empirical.report.figures.momentum import tasks as momentum_tasks
from empirical.report.render.drawing import Figure
from empirical.report.results import Results, read_results
from empirical.report.sections import momentum
from empirical.report.sections.momentum import THEORY, cautions
from empirical.report.tables.grid import Grid
from empirical.report.tables.momentum import etas as momentum_etas
from empirical.report.tables.momentum import language as momentum_language
from empirical.report.tables.momentum import learning as momentum_learning
from empirical.report.tables.momentum import runs as momentum_runs
from empirical.report.write import sections
from empirical.results.attention_kinds import KINDS, Layer
from empirical.results.language_models import Trained
from proofs.statements import STATEMENTS
from tests.empirical.report.test_report import OTHER_HASHES, Page
from tests.support.results.control_results import cells
from tests.support.results.momentum import (
    ABSENT,
    ETAS,
    PLAIN,
    World,
    layers,
    sweep,
    trained,
    write_sweep,
)
from tests.support.results.report import RESULTS

WORLD = World(
    gain=lambda x: {"momentum": 0.02, "recency_bias": -0.03}.get(x.kind, 0.0) * (x.eta or 0.0),
    right=lambda x: 0.1 if x.kind == "momentum" else 0.0,
)
M9 = Layer(kind="momentum", eta=0.9)
LEARNED = Layer(kind="momentum", eta=0.5, learned=True)
RUNS = sweep(world=WORLD)
AT = compare(RUNS).scales[0]
TEXTS = ("training-64", "validation-16", "validation-32", "validation-64")


def of(runs: tuple[Trained, ...]) -> Results:
    """What a folder of these alone is read as."""
    return Results(records=(), evidence=(), checks=(), calibration=None, timing={}, momentum=runs)


def row(grid: Grid, head: str) -> tuple[str, ...]:
    (found,) = [r for r in grid.rows if r[0] == head]
    return found[1:]


def column(grid: Grid, heading: str) -> dict[str, str]:
    (place,) = [i for i, c in enumerate(grid.columns) if c.heading == heading]
    return {r[0]: r[place] for r in grid.rows}


def values(cells: tuple[str, ...]) -> list[str]:
    """The numbers in front of the intervals."""
    return [c.split(" [")[0] for c in cells]


def slow_losses(layer: Layer, text: str) -> list[float]:
    """Of all seeds and windows, in the order of the runs."""
    return [x for r in RUNS if r.layer == layer for x in r.losses[text]]


def slow_right(layer: Layer, task: str, side: str = "in_context") -> list[bool]:
    found = []
    for r in RUNS:
        if r.layer == layer:
            s = r.scores[task]
            found += [a == b for a, b in zip(getattr(s, side), s.gold, strict=True)]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_sweep(tmp_path_factory.mktemp("momentum"), RUNS)
    write_text(made / "timing.json", dumps({RUNS[0].name: {"total": 12.25}}))
    write_report(made)
    return made


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


# -- table 6 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [PLAIN, M9, LEARNED], ids=lambda x: x.name)
def test_perplexities_are_those_of_all_windows_and_seeds(layer: Layer) -> None:
    expected = []
    for text in TEXTS:
        losses = slow_losses(layer, text)
        expected.append(f"{math.exp(math.fsum(losses) / len(losses)):.2f}")
    assert values(row(momentum_language.perplexity(AT), names.layer(layer))) == expected


@pytest.mark.parametrize("layer", [M9, LEARNED], ids=lambda x: x.name)
def test_differences_of_perplexity_are_paired_and_in_percent(layer: Layer) -> None:
    expected = []
    for text in TEXTS:
        pairs = zip(slow_losses(layer, text), slow_losses(PLAIN, text), strict=True)
        gaps = [a - b for a, b in pairs]
        expected.append(f"{100 * (math.exp(math.fsum(gaps) / len(gaps)) - 1):.2f}")
    found = row(momentum_language.differences(AT), names.layer(layer))
    assert values(found) == expected and all(float(x) < 0 for x in expected)
    assert all(c.endswith("]") for c in found)
    assert names.layer(PLAIN) not in {r[0] for r in momentum_language.differences(AT).rows}


def test_published_perplexities_stand_under_the_same_part_of_the_length() -> None:
    grid = momentum_language.perplexity(AT)
    assert [c.heading for c in grid.columns[1:]] == [
        "training books, 64 tokens", "held-out books, 16 tokens", "held-out books, 32 tokens",
        "held-out books, 64 tokens",
    ]  # fmt: skip
    places = ("training-1024", "validation-256", "validation-512", "validation-1024")
    for kind, title in (("plain", "plain attention"), ("momentum", "momentum attention")):
        found = row(grid, f"published (350M, other text): {title}")
        assert list(found) == [f"{MOMENTUM_PERPLEXITY[kind][p]:.2f}" for p in places]
    gaps = row(
        momentum_language.differences(AT), "published (350M, other text): momentum attention"
    )
    assert gaps == ("-0.34", "-0.67", "-0.83", "-0.79")  # 17.55/17.61, 19.37/19.5, ... by hand
    assert any("other models" in n for n in grid.notes)


def test_a_length_that_the_paper_did_not_read_has_no_published_number() -> None:
    cut = tuple(replace(r, losses={**r.losses, "validation-40": r.losses["validation-32"]})
                for r in RUNS)  # fmt: skip
    grid = momentum_language.perplexity(compare(cut).scales[0])
    assert column(grid, "held-out books, 40 tokens")[grid.rows[-1][0]] == "–"
    assert column(grid, "held-out books, 32 tokens")[grid.rows[-1][0]] == "16.73"


# -- table 7 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["sst5", "cb"])
def test_accuracies_are_counts_and_their_differences_count_the_same_rows(task: str) -> None:
    for layer in (PLAIN, M9, LEARNED):
        right = slow_right(layer, task)
        found = column(momentum_learning.accuracy(AT), names.short(layer))[task]
        assert values((found,)) == [f"{100 * sum(right) / len(right):.1f}"]
    ours, theirs = slow_right(M9, task), slow_right(PLAIN, task)
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    found = column(momentum_learning.differences(AT), names.short(M9))[task]
    assert values((found,)) == [f"{100 * (won - lost) / len(ours):.1f}"] and won > lost


def test_published_accuracies_and_what_was_shown_stand_beside() -> None:
    grid = momentum_learning.accuracy(AT)
    for kind in ("plain", "momentum"):
        found = column(grid, f"published: {kind}")
        assert {t: found[t] for t in MOMENTUM_TASKS} == {
            t: f"{x:.1f}" for t, x in MOMENTUM_ACCURACY[kind].items()
        }
        assert found["mean"] == "–"
    assert (column(grid, "shown")["sst5"], column(grid, "shown")["cb"]) == ("4", "2")
    assert column(grid, "answers")["sst5"] == "5" and column(grid, "rows")["cb"] == "60"
    gaps = column(momentum_learning.differences(AT), "published: momentum")
    assert [gaps[t] for t in MOMENTUM_TASKS] == ["2.1", "6.3", "3.6", "2.9", "1.8", "0.3"]


@pytest.mark.parametrize("grid", [momentum_learning.accuracy, momentum_learning.differences])
def test_absent_tasks_give_their_reason_and_tasks_not_run_say_so(grid) -> None:
    found = grid(AT)
    (note,) = [n for n in found.notes if ABSENT["imdb"] in n]
    cells = column(found, names.short(M9))
    assert note.startswith("(1)") and cells["imdb"] == "absent (1)"
    assert cells["piqa"] == cells["arc_easy"] == "not run"
    assert any(n == "mean: over cb, sst5." or n == "mean: over sst5, cb." for n in found.notes)


def test_tasks_not_run_are_left_out_where_nothing_is_published() -> None:
    for grid in momentum_learning.without_demonstrations(AT):
        assert {r[0] for r in grid.rows} == {"sst5", "imdb", "cb", "mean"}
    gain, shot, gaps = momentum_learning.without_demonstrations(AT)
    for task in ("sst5", "cb"):
        shown, bare = slow_right(M9, task), slow_right(M9, task, "zero_shot")
        plain, n = slow_right(PLAIN, task, "zero_shot"), len(bare)
        counts = (sum(shown) - sum(bare), sum(bare), sum(bare) - sum(plain))
        cells = tuple(column(g, names.short(M9))[task] for g in (gain, shot, gaps))
        assert values(cells) == [f"{100 * x / n:.1f}" for x in counts]


# -- etas, controls, what ran ---------------------------------------------------------------------


def test_the_eta_marked_as_chosen_has_the_lowest_choosing_loss() -> None:
    grid = momentum_etas.etas(AT)
    assert len(grid.rows) == len(layers())
    for kind in ("momentum", "averaged_values", "recency_bias"):
        own = [Layer(kind=kind, eta=e) for e in ETAS]
        best = min(own, key=lambda x: math.fsum(slow_losses(x, "choosing-64")))
        marks = {x: row(grid, names.layer(x))[2] for x in own}
        assert {x for x, m in marks.items() if m == "chosen"} == {best}
    losses = slow_losses(M9, "choosing-64")
    assert row(grid, names.layer(M9))[3] == f"{math.fsum(losses) / len(losses):.4f}"
    assert row(grid, names.layer(PLAIN))[-2:] == ("–", "–")
    assert row(grid, names.layer(LEARNED))[2] == "–"


def test_momentum_is_set_against_every_control() -> None:
    grid = momentum_etas.against(AT)
    assert [c.heading for c in grid.columns[2:]] == [
        "plain attention*", "averaged values*", "recency bias*"
    ]  # fmt: skip
    first = next(r for r in grid.rows if r[1] == "held-out books, 64 tokens")
    gap = momentum_language.differences(AT)
    theirs = float(row(gap, names.layer(M9))[-1].split(" [")[0])
    # A percentage of losses there, of their exponentials here: e^x - 1 - x is at most x^2 here.
    assert abs(float(first[2].split(" [")[0]) + theirs) <= 100 * (theirs / 100) ** 2 + 0.01
    assert any(n.startswith("imdb decides nothing: ") for n in grid.notes)


def test_a_seed_that_was_lost_is_named() -> None:
    kept = tuple(r for r in RUNS if (r.layer, r.seed) != (M9, 2))
    at = compare(kept).scales[0]
    assert row(momentum_etas.etas(at), names.layer(M9))[:2] == ("1, 3", "2")
    assert row(momentum_etas.etas(at), names.layer(PLAIN))[:2] == ("1, 2, 3", "none")
    (line,) = cautions(at)
    assert line == "nano: momentum attention, η = 0.9 lacks seed 2; its differences are over the others."  # fmt: skip # noqa: E501 # the whole sentence
    assert cautions(AT) == ()


def test_with_one_seed_nothing_can_be_concluded() -> None:
    results = of(sweep((7,), WORLD))
    found = analyse(results)
    (line,) = cautions(found.momentum.scales[0])
    assert "1 seed (7), where 2 or more are needed: nothing can be concluded" in line
    page = sections(results, found)
    assert [s.id for s in page] == ["verdicts", "momentum"]
    (cards,) = [b for b in page[0].blocks if b.kind == "cards"]
    assert [c.status for c in cards.cards] == ["untested", "untested"]
    assert all(c.link == "momentum" for c in cards.cards)


def test_kinds_without_a_chosen_eta_say_why() -> None:
    some = tuple(r for r in RUNS if r.layer.kind != "momentum" or r.layer.learned)
    at = compare(some).scales[0]
    assert any("momentum attention has no eta chosen" in x for x in cautions(at))
    assert momentum_etas.against(at).rows == ()


def test_learned_etas_stand_by_seed_layer_and_head() -> None:
    grid = momentum_runs.rates(AT)
    assert [c.heading for c in grid.columns[-2:]] == ["head 1", "head 2"]
    expected = [(str(s), str(i), *etas) for s in (1, 2, 3)
                for i, etas in ((1, ("0.250", "0.500")), (2, ("0.750", "0.125")))]  # fmt: skip
    assert [r[2:] for r in grid.rows] == expected
    none = compare(tuple(r for r in RUNS if not r.layer.learned)).scales[0]
    assert momentum_runs.rates(none).rows == ()


def test_what_is_equal_what_ran_and_how_to_run_it_again(folder: Path, text: str) -> None:
    grid = momentum_runs.equal(AT)
    first = RUNS[0].equal
    assert row(grid, "1") == ("12,345", "30", "61,440", first.order_sha256[:16],
                              first.initial_sha256[:16])  # fmt: skip
    assert momentum_runs.settings(AT).rows == (("peak_rate", "0.001"), ("width", "16"))
    ran = momentum_runs.ran(read_results(folder), "nano")
    assert len(ran.rows) == len(RUNS)
    assert [r[6] for r in ran.rows if r[0] == names.layer(PLAIN)] == ["12.2", *["not recorded"] * 2]
    assert "torch 2.0, transformers 5.0" in ran.rows[0]
    assert text.count("dualform momentum --scale nano --text BOOKS --out DIR") == 1


def test_settings_that_differ_between_seeds_are_named_with_them() -> None:
    other = {2: replace(AT.equal[2], settings={"width": "32"})}
    grid = momentum_runs.settings(replace(AT, equal={**AT.equal, **other}))
    assert row(grid, "width") == ("16 (seed 1, 3); 32 (seed 2)",)


def expanded(line: str) -> set[tuple[str, str, str]]:
    """(kind, eta, seed) of every model that a command makes, from its words one by one."""
    given: dict[str, list[str]] = {"--kind": [], "--eta": [""], "--seed": []}
    words = line.split()
    for option, value in pairwise(words):
        if option == "--eta":
            given[option] = value.split(",")
        elif option in given:
            given[option].append(value)
    return {tuple(x) for x in product(given["--kind"], given["--eta"], given["--seed"])}


def test_commands_of_single_models_become_few_that_make_the_same_models() -> None:
    def command(layer: Layer, seed: int) -> tuple[str, ...]:
        eta = () if layer.eta is None else ("--eta", f"{layer.eta:g}")
        made = ("dualform", "momentum", "--kind", layer.kind, *eta, "--seed", str(seed))
        return (*made, "--text", "BOOKS")

    heavy = Layer(kind="heavy_ball", eta=0.5)
    pairs = [(x, s) for x in (*layers(learned=False), heavy) for s in (1, 2)]
    pairs.append((M9, 3))  # a seed that the others lack
    runs = tuple(
        replace(trained(x, s), origin=replace(RUNS[0].origin, command=command(x, s)))
        for x, s in pairs
    )
    lines = momentum_runs.commands(runs)
    found = [one for line in lines for one in expanded(line)]
    wanted = {(x.kind, "" if x.eta is None else f"{x.eta:g}", str(s)) for x, s in pairs}
    assert set(found) == wanted and len(found) == len(wanted)
    assert len(lines) == 5  # plain, momentum at 0.3, at 0.9, both controls together, heavy ball
    both = "--kind averaged_values --kind recency_bias --eta 0.3,0.9 --seed 1 --seed 2"
    assert f"dualform momentum {both} --text BOOKS" in lines


def test_tasks_that_decide_nothing_share_a_note_where_they_share_the_reason() -> None:
    notes = momentum_etas.against(replace(AT, left_out={"a": "x", "b": "y", "c": "x"})).notes
    assert notes[1:3] == ("a, c decide nothing: x", "b decides nothing: y")


# -- figures --------------------------------------------------------------------------------------


def drawn(figure: Figure, place: int = 0):
    axis = Canvas().add_subplot()
    figure.panels[place].draw(axis)
    return axis


def test_curves_have_a_thin_line_for_every_seed_in_the_colour_of_its_kind() -> None:
    figure = momentum_curves.figure("nano", RUNS, (PLAIN, M9, LEARNED))
    lines = drawn(figure).lines
    assert len(lines) == 9 and len(figure.keys) == 3
    for layer, own in ((PLAIN, lines[:3]), (M9, lines[3:6]), (LEARNED, lines[6:])):
        runs = [r for r in RUNS if r.layer == layer]
        for line, run in zip(own, runs, strict=True):
            assert list(zip(*line.get_data(), strict=True)) == list(run.curve)
            assert to_hex(line.get_color()) == momentum_curves.style(layer.kind).colour
    assert len({k.style.dash for k in figure.keys}) == 3
    late = [list(x.get_xdata()) for x in drawn(figure, 2).lines]
    assert late == [[20, 30]] * 9


def test_effect_against_eta_is_the_paired_difference_with_a_labelled_zero() -> None:
    figure = momentum_eta.figure(AT)
    assert figure is not None
    assert [p.title for p in figure.panels] == [
        KINDS[k].title for k in ("momentum", "averaged_values", "recency_bias")
    ]
    axis = drawn(figure)
    assert [t.get_text() for t in axis.texts] == ["as plain attention"]
    assert axis.lines[0].get_ydata()[0] == 0
    etas, gaps = axis.lines[1].get_data()
    expected = []
    for eta in ETAS:
        ours = slow_losses(Layer(kind="momentum", eta=eta), "validation-64")
        theirs = slow_losses(PLAIN, "validation-64")
        expected.append(math.fsum(a - b for a, b in zip(ours, theirs, strict=True)) / len(ours))
    assert list(etas) == list(ETAS)
    # 48 terms below 1, added in another order: 48 roundings of each sum, of numbers below 8.
    assert all(abs(a - b) < 48 * 8 * 2**-52 for a, b in zip(gaps, expected, strict=True))
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0.3", "0.9", "learned"]
    assert len(axis.collections) == 3  # intervals of two etas and the learned ones
    alone = compare(tuple(r for r in RUNS if r.layer == PLAIN)).scales[0]
    assert momentum_eta.figure(alone) is None


def test_a_large_effect_does_not_hide_the_small_ones() -> None:
    world = World(gain=lambda x: -0.5 if x == M9 else 0.0)
    figures = [momentum_eta.figure(compare(sweep((1, 2), w)).scales[0]) for w in (world, WORLD)]
    scales = [drawn(f, place).get_yscale() for f in figures for place in (0, 1) if f is not None]
    assert scales == ["symlog", "linear", "linear", "linear"]
    low, high = drawn(figures[0]).get_ylim()
    assert low < 0 and high > 0.55  # a margin beyond the largest, 0.5
    assert all("logarithmic beyond 0.01" in f.caption for f in figures if f is not None)


def test_dots_are_the_differences_of_the_table_and_published_ones_where_a_task_was_run() -> None:
    rows = {r.task: r for r in momentum_tasks.rows(AT)}
    assert list(rows) == ["sst5", "cb", "mean"]
    table = column(momentum_learning.differences(AT), names.short(M9))
    for task, one in rows.items():
        assert f"{one.marks[M9].value:.1f}" == values((table[task],))[0]
        assert PLAIN not in one.marks
    assert f"{rows['cb'].published:.1f}" == "2.9" and rows["mean"].published is None
    figure = momentum_tasks.figure(AT)
    assert figure is not None and figure.keys[-1].label.startswith("published")
    points = [x for x in drawn(figure).lines if len(x.get_xdata()) == 1]
    assert len(points) == 3 * 4 + 2  # four layers on three rows, two published marks
    absent = {"imdb": RUNS[0].scores["imdb"]}
    none = compare(tuple(replace(r, scores=absent) for r in RUNS)).scales[0]
    assert momentum_tasks.figure(none) is None


def test_every_kind_has_a_colour_marker_and_dash_of_its_own() -> None:
    looks = [momentum_curves.style(k) for k in KINDS]
    for part in ("colour", "marker", "dash"):
        assert len({getattr(x, part) for x in looks}) == len(KINDS)


# -- the page and its files -----------------------------------------------------------------------


def test_the_page_of_trained_models_alone_has_verdicts_first(text: str) -> None:
    page = Page(text)
    assert [a["id"] for a, _ in page.all("section")] == ["verdicts", "momentum"]
    cards = [t for a, t in page.all("li") if (a.get("class") or "").startswith("card")]
    assert len(cards) == 2 and all("Momentum attention" in t for t in cards)
    ids = [a["id"] for tag, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a, _ in page.all("a") if (a["href"] or "").startswith("#")]
    assert {x.removeprefix("#") for x in links if x} <= set(ids)
    assert "24 models trained: 8 variants of attention, 3 seeds" in text


def test_theory_names_statements_of_the_catalogue_and_every_kind_has_its_formula(text: str) -> None:
    known = {s.id: s for s in STATEMENTS}
    words = " ".join(t.words for t in THEORY)
    for name in ("heavy-ball-on-the-update", "averaged-values-inside-attention"):
        assert name in words and known[name].claim != "false"
    assert "momentum-attention-is-momentum, refuted" in words
    assert known["momentum-attention-is-momentum"].claim == "false"
    assert [t.words.count(". ") + 1 for t in THEORY] == [1, 1]  # a sentence each
    terms = momentum.kinds_terms().terms
    assert [t.term for t in terms] == [k.title for k in KINDS.values()]
    assert all("<math" in t.formulas[0] for t in terms) and text.count("<math") == 3 + len(KINDS)


def test_tables_are_written_in_three_formats(folder: Path, tmp_path: Path) -> None:
    markdown = (folder / "momentum.md").read_text(encoding="utf-8")
    found = csv.DictReader(io.StringIO((folder / "momentum.csv").read_text(encoding="utf-8")))
    rows = list(found)
    for grid in momentum.every_grid(read_results(folder), compare(RUNS)):
        assert f"\n## {grid.caption}\n" in markdown
    (gap,) = [r for r in rows if (r["kind"], r["eta"], r["learned"], r["on"], r["measure"])
              == ("momentum", "0.9", "False", "validation-64", "difference")]  # fmt: skip
    (cell,) = [x for x in AT.on_text("validation-64") if x.layer == M9]
    assert float(gap["value"]) == cell.difference.value and float(gap["p"]) == cell.difference.p
    absent = [r for r in rows if r["on"] == "imdb" and r["table"] == "7"]
    assert absent and all(r["undefined_because"] == ABSENT["imdb"] for r in absent)
    shutil.copy(folder / "momentum.tex", tmp_path / "x.tex")
    run = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "x.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]
    assert "?" not in (folder / "momentum.tex").read_text(encoding="utf-8")


HEAVY = {"torch", "transformers", "datasets", "sympy", "accelerate"}


def test_another_process_writes_the_same_bytes_without_a_model_library(
    folder: Path, tmp_path: Path
) -> None:
    again = write_sweep(tmp_path / "again", RUNS)
    shutil.copy(folder / "timing.json", again)
    code = (
        f"import sys, pathlib, empirical.report as r; r.write_report(pathlib.Path({str(again)!r}));"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                         env={**os.environ, **OTHER_HASHES})  # fmt: skip
    assert run.stdout.strip() == "[]"
    first, second = (sorted(p for p in x.rglob("*") if p.is_file()) for x in (folder, again))
    assert len(first) > len(RUNS) + 10
    assert [(p.name, p.read_bytes()) for p in first] == [(p.name, p.read_bytes()) for p in second]


def bare(path: Path) -> Path:
    """A study of one record."""
    path.mkdir(exist_ok=True)
    shutil.copy(RESULTS / "record-embedded-cb-s1.json", path)
    return path


def test_a_study_without_trained_models_has_no_section_and_one_beside_them_has(
    tmp_path: Path,
) -> None:
    results = read_results(bare(tmp_path / "x"))
    before = sections(results, analyse(results))
    with_models = read_results(write_sweep(bare(tmp_path / "x"), RUNS))
    after = sections(with_models, analyse(with_models))
    ids = [s.id for s in before]
    assert ids[0] == "verdicts" and ids[-1] == "runs" and "momentum" not in ids
    assert [s.id for s in after] == [*ids[:-1], "momentum", "runs"]
    assert after[1:-2] == before[1:-1] and after[-1] == before[-1]
    (missing,) = [b for b in before[0].blocks if b.kind == "missing"]
    assert missing in after[0].blocks  # the study still lacks its evidence


def test_a_folder_with_neither_is_refused_and_a_damaged_file_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected files record-"):
        write_report(tmp_path)
    write_sweep(tmp_path, RUNS[:2])
    path = tmp_path / f"{RUNS[1].name}.json"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(UserError, match=path.name) as error:
        write_report(tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "report.html").exists()


def test_several_scales_have_tables_and_cards_of_their_own() -> None:
    both = of((*sweep((1, 2)), *(replace(r, scale="small") for r in sweep((1, 2)))))
    found = analyse(both)
    grids = momentum.every_grid(both, found.momentum)
    ids = [g.id for g in grids]
    assert len(ids) == len(set(ids))
    own = [i.removesuffix("-nano") for i in ids if i.endswith("-nano")]
    assert own == [i.removesuffix("-small") for i in ids if i.endswith("-small")]
    (verdicts, section) = sections(both, found)
    headings = [b.heading for b in verdicts.blocks if b.kind == "cards"]
    assert headings == ["Trained models: nano", "Trained models: small"]
    plots = [b.figure.id for b in section.blocks if b.kind == "plot"]
    assert len(plots) == 6 and len(set(plots)) == 6


def test_runs_stand_by_kind_eta_and_seed() -> None:
    mixed = of(tuple(reversed(RUNS)))
    found = momentum_runs.of_scale(mixed, "nano")
    keys = [(list(KINDS).index(r.layer.kind), r.layer.learned, r.layer.eta or 0, r.seed)
            for r in found]  # fmt: skip
    assert all(a < b for a, b in pairwise(keys)) and len(found) == len(RUNS)
    assert trained(scale="other").scale == "other" and momentum_runs.of_scale(mixed, "other") == ()


def test_beside_trained_models_a_study_says_nothing_of_momentum_and_they_say_it() -> None:
    evidence = cells(tasks=("cb",), seeds=(1, 2))
    study = analyse(replace(of(()), evidence=evidence)).verdicts
    both = analyse(replace(of(RUNS), evidence=evidence)).verdicts
    model = evidence[0].provenance.model
    assert [v.claim.id for v in study if v.claim.id.startswith("momentum")] == ["momentum"]
    assert both[: len(study) - 1] == tuple(v for v in study if v.claim.id != "momentum")
    rest = [(v.model, v.claim.id) for v in both[len(study) - 1 :]]
    assert rest == [("nano", "momentum"), ("nano", "momentum_language")] and model != "nano"
