"""What a cell says of itself: where its captures lie, and the command that makes it alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from empirical.study.cell import Cell, cells_of
from empirical.study.request import Request, open_study


@pytest.fixture(scope="module")
def request_of_two(model: Path, data: Path) -> Request:
    """One task, two seeds, two rates; the captures are kept."""
    return Request(
        command="reproduce",
        model=str(model),
        data=str(data),
        tasks=("mr",),
        seeds=(1, 2),
        k=4,
        rates=(0.01, 0.1),
        keep_captures=True,
    )


@pytest.fixture(scope="module")
def cells(request_of_two: Request) -> tuple[Cell, ...]:
    return cells_of(open_study(request_of_two), Path("out"))


def test_there_is_a_cell_for_every_seed_and_what_is_worked_out_is_kept(
    cells: tuple[Cell, ...],
) -> None:
    assert [(c.task, c.seed) for c in cells] == [("mr", 1), ("mr", 2)]
    for cell in cells:
        assert cell.inputs is cell.inputs and cell.stores is cell.stores
        assert cell.provenance is cell.provenance
        assert cell.provenance.seed == cell.seed == cell.settings.seed
        assert (cell.provenance.rates, cell.provenance.rate) == ((0.01, 0.1), 0.01)
        assert cell.provenance.selection == cell.provenance.seed_selection == ()


def test_seeds_share_zero_shot_captures_and_no_others(cells: tuple[Cell, ...]) -> None:
    one, two = (c.stores for c in cells)
    assert one.zsl == two.zsl and one.icl != two.icl
    assert one.ft is not None and two.ft is not None and one.ft != two.ft
    names = {s.folder.name for c in (one, two) for s in (c.zsl, c.icl, c.ft) if s is not None}
    assert len(names) == 5 and one.zsl.folder.parent == Path("out/captures")
    assert cells[0].kept.ft == one.ft.folder.name


def test_captures_of_other_rates_or_another_position_lie_elsewhere(
    cells: tuple[Cell, ...],
) -> None:
    cell = cells[0]

    def changed(**more: object) -> Cell:
        settings = replace(cell.settings, **more)  # type: ignore[arg-type] # fields by name
        return replace(cell, prepared=replace(cell.prepared, settings=settings))

    rates, position = changed(rates=(0.1,)), changed(position="prompt")
    assert rates.stores.icl == cell.stores.icl and rates.stores.ft != cell.stores.ft
    assert rates.trials.path != cell.trials.path
    assert position.stores.zsl != cell.stores.zsl and position.stores.icl != cell.stores.icl


def test_finetuning_is_stored_only_where_captures_are_kept(
    cells: tuple[Cell, ...], request_of_two: Request
) -> None:
    asked = replace(request_of_two, keep_captures=False)
    cell = replace(cells[0], study=replace(cells[0].study, request=asked))
    assert cell.stores.ft is None and cell.stores.zsl == cells[0].stores.zsl
    assert cell.kept.ft == ""


def test_the_command_names_what_was_asked_for_and_the_own_seed(cells: tuple[Cell, ...]) -> None:
    asked = cells[1].study.request
    start = ("dualform", "reproduce", "--model", asked.model, "--task", "mr", "--data", asked.data)
    assert cells[1].command == (*start, "--k", "4", "--seed", "2", "--rates", "0.01,0.1")
    assert cells[1].command_with("--seed", "7") == (*start, "--k", "4", "--seed", "7")
