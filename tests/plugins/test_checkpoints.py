"""Second places keep their contract; in a directory, what was seen is never replaced."""

import pytest

from taskbound.core.errors import Unavailable
from taskbound.plugins.checkpoints.files import CheckpointFiles
from taskbound.plugins.checkpoints.memory import MemoryCheckpoints
from tests.contracts.checkpoints import *  # noqa: F403


@pytest.fixture(params=["files", "memory"])
def place(request, tmp_path):
    return CheckpointFiles(tmp_path / "second") if request.param == "files" else MemoryCheckpoints()


async def test_a_file_appears_whole_and_others_are_not_looked_at(tmp_path):
    place = CheckpointFiles(tmp_path)
    await place.put("abcdef/main", 7, b"one")
    (tmp_path / "abcdef/main/.8.1.new").write_bytes(b"torn")
    (tmp_path / "abcdef/main/notes.txt").write_bytes(b"by a person")
    assert await CheckpointFiles(tmp_path).newest("abcdef/main") == b"one"
    assert (tmp_path / "abcdef/main/7").read_bytes() == b"one"


async def test_a_second_place_that_cannot_be_reached_is_trouble_of_the_world(tmp_path):
    (tmp_path / "file").write_text("")
    place = CheckpointFiles(tmp_path / "file")
    with pytest.raises(Unavailable):
        await place.put("abcdef/main", 7, b"one")
    with pytest.raises(Unavailable):
        await place.newest("abcdef/main")
