"""Files that are written whole or not at all."""

from pathlib import Path

import pytest

from empirical.core.json_files import replacing, whole_file, write_text


def test_a_file_takes_the_place_of_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.bin"
    for content in (b"one", b"two"):
        with replacing(path) as temporary:
            assert temporary.name == path.name and temporary != path
            temporary.write_bytes(content)
        assert path.read_bytes() == content and list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("sync", [True, False])
def test_a_folder_appears_whole(tmp_path: Path, sync: bool) -> None:
    with replacing(tmp_path / "model", sync=sync) as temporary:
        temporary.mkdir()
        write_text(temporary / "a", "1")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "a").read_text() == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_failure_keeps_the_old_file_and_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), replacing(path):
        pass  # nothing was written
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
