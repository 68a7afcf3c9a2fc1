"""Keys in files and in memory keep the contract of keys; a key file is the operator's alone."""

import os

import pytest

from taskbound.core.errors import Unavailable
from taskbound.plugins.keys.local import LocalKeys
from taskbound.plugins.keys.memory import MemoryKeys
from tests.cli.nobody import ground, unprivileged  # noqa: F401
from tests.contracts.keys import *  # noqa: F403

PURPOSES = ["log", "receipt", "token"]


@pytest.fixture(params=["local", "memory"])
def keys(request, tmp_path):
    return LocalKeys(tmp_path / "keys", PURPOSES) if request.param == "local" else MemoryKeys(PURPOSES)


@unprivileged
async def test_a_key_is_made_at_first_use_for_the_operator_alone_and_found_again(ground):  # noqa: F811
    keys = LocalKeys(ground / "keys", PURPOSES)
    assert not (ground / "keys").exists()
    await keys.sign("log", b"message")
    assert os.listdir(ground / "keys") == ["log.pem"]
    assert (ground / "keys").stat().st_mode & 0o777 == 0o700
    assert (ground / "keys" / "log.pem").stat().st_mode & 0o777 == 0o600
    assert await LocalKeys(ground / "keys", PURPOSES).public() == await keys.public()


async def test_two_who_make_a_key_at_once_have_the_same(tmp_path):
    first, second = LocalKeys(tmp_path, ["log"]), LocalKeys(tmp_path, ["log"])
    assert await first.public() == await second.public()


async def test_public_keys_are_read_once(tmp_path):
    keys = LocalKeys(tmp_path / "keys", PURPOSES)
    first = await keys.public()
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    assert await keys.public() == first
    assert await keys.sign("token", b"message")


@pytest.mark.parametrize("purpose", ["log", "token"])
async def test_a_key_of_another_purpose_s_algorithm_is_refused(tmp_path, purpose):
    directory = tmp_path / "keys"
    await LocalKeys(directory, PURPOSES).public()
    other = {"log": "token", "token": "log"}[purpose]
    (directory / f"{purpose}.pem").write_bytes((directory / f"{other}.pem").read_bytes())
    with pytest.raises(Unavailable, match="another algorithm"):
        await LocalKeys(directory, PURPOSES).sign(purpose, b"message")


@unprivileged
async def test_a_folder_in_which_no_key_can_be_made_is_trouble(ground):  # noqa: F811
    ground.chmod(0o500)
    with pytest.raises(Unavailable, match=r"log\.pem cannot be used: .*Permission denied"):
        await LocalKeys(ground / "keys", ["log"]).sign("log", b"message")


@pytest.mark.parametrize("harm", ["open", "shut", "torn", "link", "other"])
@unprivileged
async def test_a_key_file_that_is_not_right_is_refused(ground, harm):  # noqa: F811
    directory, path = ground / "keys", ground / "keys" / "log.pem"
    await LocalKeys(directory, ["log"]).public()
    if harm == "open":
        path.chmod(0o640)
    elif harm == "shut":
        path.chmod(0)  # for root it is open
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:40])
    elif harm == "link":
        path.rename(ground / "elsewhere.pem")
        path.symlink_to(ground / "elsewhere.pem")
    else:
        path.write_text("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIA==\n-----END PRIVATE KEY-----\n")
    with pytest.raises(Unavailable, match=r"log\.pem cannot be used"):
        await LocalKeys(directory, ["log"]).sign("log", b"message")
