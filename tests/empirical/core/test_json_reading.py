"""Files read as dataclasses: strictly, with the place of what is wrong in one line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from empirical.core import json_reading
from empirical.core.errors import UserError
from empirical.core.json_files import dumps, write_text
from empirical.core.json_reading import AnyJson
from empirical.core.undefined import Number, Undefined


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: Number
    low: Number | None = None
    row: tuple[Number, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Mapping[str, Inner]
    pairs: tuple[tuple[int, float], ...] = ()
    kind: Literal["a", "b"] = "a"
    right: bool | None = None
    tables: Mapping[str, AnyJson] = field(default_factory=dict)
    schema: Literal[3] = 3


GONE = Undefined("no case")
WHOLE = Outer(
    name="x",
    inner={"one": Inner(number=0.1 + 0.2, row=(1.0, GONE)), "two": Inner(number=GONE, low=GONE)},
    pairs=((1, 2.0), (2, 1e-300)),
    right=True,
    tables={"t": [[1.0, GONE], "text", None, {"a": 1}]},
)


def written(folder: Path, **changed: Any) -> Path:
    path = folder / "x.json"
    write_text(path, dumps(WHOLE))
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return path


def test_what_is_written_is_read_again_with_its_types(tmp_path: Path) -> None:
    found = json_reading.read(written(tmp_path), Outer)
    assert found == WHOLE and type(found.inner["one"].row) is tuple
    assert dumps(found) == dumps(WHOLE)


def test_an_integer_stands_for_a_number_and_nothing_else_does(tmp_path: Path) -> None:
    value = json_reading.read(written(tmp_path, pairs=[[1, 2]]), Outer).pairs[0][1]
    assert value == 2.0 and type(value) is float


ONE = {"number": 1.0, "low": None, "row": []}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema": 4, "name": 1}, "expected version 3 at schema of P, got 4"),
        ({"name": 1}, "expected text at name of P, got 1"),
        ({"name": None}, "expected text at name of P, got None"),
        ({"inner": []}, "expected an object at inner of P, got \\[\\]"),
        ({"inner": {"one": 1}}, "expected an object at inner.one of P, got 1"),
        ({"inner": {"one": ONE | {"number": "1"}}}, "expected a number at inner.one.number of P"),
        ({"inner": {"one": ONE | {"number": True}}}, "expected a number at inner.one.number of P"),
        ({"inner": {"one": ONE | {"row": [1, "x"]}}}, "expected a number at inner.one.row.1 of P"),
        ({"inner": {"one": ONE | {"low": {"undefined": 1}}}}, "text at inner.one.low.undefined of"),
        ({"inner": {"one": ONE | {"low": {"nan": 1}}}}, r"keys \['undefined'\] at inner.one.low"),
        ({"inner": {"one": {"number": 1}}}, r"keys \['low', 'number', 'row'\] at inner.one of P, "),
        ({"more": 1}, r"expected the keys \['inner', .*\] at the top level of P, got \[.*'more'"),
        ({"pairs": {}}, "expected a list at pairs of P"),
        ({"pairs": [[1]]}, "expected 2 values at pairs.0 of P, got \\[1\\]"),
        ({"pairs": [[1, 2, 3]]}, "expected 2 values at pairs.0 of P"),
        ({"pairs": [[1.5, 2]]}, "expected an integer at pairs.0.0 of P, got 1.5"),
        ({"pairs": [[True, 2]]}, "expected an integer at pairs.0.0 of P, got True"),
        ({"kind": "c"}, "expected one of 'a' or 'b' at kind of P, got 'c'"),
        ({"right": 1}, "expected true or false at right of P, got 1"),
    ],
)
def test_what_is_foreign_is_refused_with_its_place(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **changed)
    with pytest.raises(UserError, match=message.replace(" P", f" {path}")) as refused:
        json_reading.read(path, Outer)
    assert str(refused.value).endswith("; run the command that wrote it again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["pairs", "kind", "right", "tables", "schema"])
def test_a_key_with_a_default_has_to_be_there_all_the_same(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    value = json.loads(path.read_text())
    del value[name]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=f"expected .*{name}"):
        json_reading.read(path, Outer)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", ['"number": 1.0', '"t": ['])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(
    tmp_path: Path, text: str, place: str
) -> None:
    path = written(tmp_path, inner={"one": ONE})
    before = path.read_text()
    path.write_text(
        before.replace(place, place.replace("1.0", "") + text + ("," * (place[-1] == "[")))
    )
    assert path.read_text() != before
    with pytest.raises(UserError, match="expected (a finite|finite|a complete JSON)"):
        json_reading.read(path, Outer)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": "\\ud800"}', '{"a": 1} x'])
def test_what_is_no_whole_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match="expected (a complete JSON file at|a JSON object in|vers)"):
        json_reading.read(path, Outer)
    with pytest.raises(UserError, match="expected a complete JSON file at .*none.json, got FileN"):
        json_reading.read(tmp_path / "none.json", Outer)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        json_reading.read(written(tmp_path, name=[0] * 10_000), Outer)
    assert len(str(refused.value)) < 1200 and "..." in str(refused.value)
