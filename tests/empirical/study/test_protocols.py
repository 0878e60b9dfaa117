"""How seeds and rates are chosen: the named settings, their known answers and their refusals."""

import pytest

from empirical.core.errors import UserError
from empirical.data.paper_tasks import TASKS
from empirical.study.protocols import GRID, PROTOCOLS, chosen, get_protocol


def test_the_grid_is_that_of_the_paper() -> None:
    assert len(GRID) == len(set(GRID)) == 36 and list(GRID) == sorted(GRID)
    assert GRID[0] == 1e-4 and GRID[-1] == 0.9
    for m in range(1, 10):
        for scale in ("0.1", "0.01", "0.001", "0.0001"):
            assert any(abs(rate - m * float(scale)) <= 1e-15 for rate in GRID)


def test_the_printed_protocols_have_one_seed_and_rate_for_each_of_the_six_tasks() -> None:
    for name in ("published-1.3B", "published-2.7B"):
        protocol = get_protocol(name)
        for task in TASKS:
            assert len(protocol.seeds_of(task)) == len(protocol.rates_of(task)) == 1
        with pytest.raises(UserError, match="among sst2, .* for the protocol .*, got 'piqa'"):
            protocol.seeds_of("piqa")


def test_sound_has_three_seeds_and_chooses_on_training_rows_the_search_on_evaluation_rows() -> None:
    sound, search = PROTOCOLS["sound"], PROTOCOLS["published-search"]
    assert len(sound.seeds_of("sst2")) >= 3 and sound.rates_on == "training" and not sound.one_seed
    assert search.seeds_of("cb") == (1, 2, 3, 4, 5, 6, 7) and search.one_seed
    assert search.rates_on == "evaluation" and search.rates_of("cb") == GRID


def test_a_users_own_seeds_and_rates_take_the_place_of_a_protocols() -> None:
    mine = chosen("sound", (5, 9), (0.1,))
    assert (mine.seeds, mine.rates, mine.rates_on) == ((5, 9), (0.1,), "training")
    assert chosen("quick", None, None) == PROTOCOLS["quick"]
    with pytest.raises(UserError, match="expected no --rates with --protocol published-1.3B"):
        chosen("published-1.3B", None, (0.1,))
    with pytest.raises(UserError, match="expected no --seed with --protocol published-2.7B"):
        chosen("published-2.7B", (3,), None)
    with pytest.raises(UserError, match="expected a protocol among quick, .*, got 'loud'"):
        chosen("loud", None, None)
