"""What `up` tells people at its start."""

from pathlib import Path

from taskbound.app.up import _warnings
from taskbound.core.config_file import read_config

STATE = Path("/srv/state")


def told(text: str) -> str:
    return "; ".join(_warnings(read_config(text, "taskbound.toml", hostname="box"), STATE))


def test_without_the_socket_that_the_command_uses_it_is_said_that_nobody_administers():
    assert "nobody administers" not in told("")
    assert "nobody administers" not in told('[listen]\napi = ["127.0.0.1:8440", "unix:/srv/state/run/api.sock"]\n')
    for address in ("127.0.0.1:8440", "unix:run/other.sock"):
        assert "unix:run/api.sock alone" in told(f'[listen]\napi = "{address}"\n')
