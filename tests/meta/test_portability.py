"""The parts of `make portability`: settings, hashes, counts, arguments."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import THREADS, float_bits
from tests.portability import (
    AS_IT_IS,
    Run,
    Setting,
    bits_table,
    changed,
    counted,
    document,
    features,
    page,
    parse,
    run_tests,
    settings,
)

NEW = ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")  # numpy 2.4 on a machine with AVX-512
OLD = ("SSE42", "AVX", "FMA3", "AVX2", "AVX512F", "AVX512_SKX")  # numpy 2.0
DISABLED = "NPY_DISABLE_CPU_FEATURES"


def by_name(found: tuple[str, ...]) -> dict[str, Setting]:
    return {s.name: s for s in settings(found)}


@pytest.mark.parametrize(
    "found",
    [NEW, OLD, ("X86_V3",), ("ASIMDHP",), (), features()],
    ids=["numpy 2.4", "numpy 2.0", "AVX2", "arm", "none", "here"],
)
def test_numpy_is_told_to_do_without_what_it_found_and_nothing_else(found: tuple[str, ...]) -> None:
    for setting in settings(found):
        names = setting.environment.get(DISABLED, "").split()
        assert set(names) <= set(found)
        assert (DISABLED in setting.environment) == bool(names)  # an empty list is refused
    assert by_name(found)["default-kernels"].environment.get(DISABLED, "").split() == list(found)


def test_a_machine_like_haswell_keeps_avx2() -> None:
    assert by_name(NEW)["haswell"].environment[DISABLED] == "X86_V4 AVX512_ICL AVX512_SPR"
    assert by_name(OLD)["haswell"].environment[DISABLED] == "AVX512F AVX512_SKX"
    assert DISABLED not in by_name(("X86_V3",))["haswell"].environment


def test_kernels_that_a_machine_cannot_run_are_not_run() -> None:
    assert by_name(NEW)["skylakex"].impossible is None is by_name(OLD)["skylakex"].impossible
    assert by_name(("X86_V3",))["skylakex"].impossible == "this machine has no AVX-512"


def test_hashes_are_the_same_twice_and_see_one_bit() -> None:
    found = float_bits.hashes()
    assert found == float_bits.hashes() and len(found) == len(set(found)) == 25
    assert torch.get_num_threads() == THREADS
    x = float_bits.uniform(3)
    y = x.copy()
    y[1] = np.nextafter(y[1], 1)
    assert float_bits.digest(x) != float_bits.digest(y)
    assert float_bits.digest(torch.from_numpy(x)) == float_bits.digest(x)


FOUND = {
    AS_IT_IS: {"sum": "11111111", "exp": "22222222"},
    "zen": {"sum": "11111111", "exp": "33333333"},
    "skylakex": {"sum": "11111111", "exp": "22222222"},
}


def test_what_a_setting_changes_is_shown() -> None:
    assert changed(FOUND["zen"], FOUND[AS_IT_IS]) == ["exp"]
    assert changed(FOUND["skylakex"], FOUND[AS_IT_IS]) == []
    assert [line.split() for line in bits_table(FOUND)[1:]] == [
        ["sum", "11111111", "=", "="],
        ["exp", "22222222", "33333333", "="],
    ]


XML = """<testsuites><testsuite><testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure>no</failure></testcase>
<testcase classname="a" name="two"><error>nor after it</error></testcase>
<testcase classname="b" name="three"><skipped/></testcase></testsuite></testsuites>"""


def test_tests_are_counted_and_failures_named() -> None:
    run = counted(XML, 1, 2.0)
    assert (run.passed, run.failed, run.skipped, run.failures) == (1, 2, 1, ("a::two",))
    assert not run.good and run.line() == "1 passed, 2 failed, 1 skipped in 2 s, status 1"
    assert not counted("<testsuites/>", 0, 0.0).good
    assert not counted("<testsuites/>", 4, 0.0).good


def test_pytest_runs_under_the_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "import os\ndef test_variable(): assert os.environ['LIKE'] == 'that'\n"
    (tmp_path / "test_it.py").write_text(text, encoding="utf-8")
    arguments = ["-n", "0", "-p", "no:cacheprovider", str(tmp_path)]
    good = run_tests(Setting(name="x", like="", environment={"LIKE": "that"}), arguments)
    assert (good.status, good.passed, good.failed) == (0, 1, 0)
    assert capfd.readouterr().out == ""
    bad = run_tests(Setting(name="x", like="", environment={"LIKE": "this"}), arguments)
    assert (bad.status, bad.passed, bad.failed) == (1, 0, 1)
    (name,) = bad.failures
    assert name.endswith("test_it::test_variable")
    assert "assert 'this' == 'that'" in capfd.readouterr().out


def test_names_are_settings_and_the_rest_is_for_pytest() -> None:
    names = ["haswell", "zen"]
    assert parse([], names) == ([], None, [])
    given = ["--settings", "zen", "haswell", "tests/meta", "-k", "a or b", "--out", "there", "-x"]
    rest = ["tests/meta", "-k", "a or b", "-x"]
    assert parse(given, names) == (["zen", "haswell"], Path("there"), rest)
    with pytest.raises(SystemExit):
        parse(["--settings", "haswel"], names)


def test_what_is_written_names_what_was_not_run() -> None:
    chosen = [s for s in settings(("X86_V3",)) if s.name in ("zen", "skylakex")]
    found = {name: FOUND[name] for name in (AS_IT_IS, "zen")}
    run = Run(status=1, passed=3, failed=1, skipped=0, failures=("a::two",), seconds=5.0)
    text = page(chosen, found, {"zen": run}, ())
    assert "| 1 | 3 passed, 1 failed, 0 skipped in 5 s, status 1 |" in text
    assert "not run: this machine has no AVX-512" in text and "* `zen`: a::two" in text
    made = document(chosen, found, {"zen": run}, ("-x",))
    assert isinstance(made["settings"], list) and isinstance(made["pytest"], list)
    assert [x["changes"] for x in made["settings"]] == [["exp"], None]
    assert made["settings"][1]["tests"] is None and made["pytest"][-1] == "-x"
