"""What doctor prints is pasted: into a shell, and into psql as an administrator."""

from types import SimpleNamespace
from typing import Any

import pytest

from taskbound.app import doctor
from taskbound.core.config_file import read_config
from taskbound.core.secret import Secret
from taskbound.plugins.providers.static import put_value
from taskbound.ports import Lack


async def test_the_name_of_a_database_begins_no_statement(monkeypatch, tmp_path):
    class Check:
        async def lacks(self):
            return [Lack("it lacks something", "GRANT a TO b;", "shop\nDROP TABLE orders; --")]

    monkeypatch.setattr(doctor, "CHECKED", {"postgres": lambda _: Check()})
    target: Any = SimpleNamespace(name="shopdb", provider="postgres", admin="env:ADMIN")
    (check,) = [one async for one in doctor.at_target(target, tmp_path, is_running=False)]
    assert check.hint == "GRANT a TO b;  -- in database 'shop\\nDROP TABLE orders; --'"


@pytest.mark.parametrize(("value", "verdict"), [(None, "fail"), ("x", "ok")])
async def test_a_static_target_needs_its_value(tmp_path, value, verdict):
    if value:
        put_value(tmp_path / "keys/static/github", Secret(value))
    target: Any = SimpleNamespace(name="github", provider="static", admin="")
    (check,) = [one async for one in doctor.at_target(target, tmp_path, is_running=False)]
    assert (check.verdict, "taskbound target put github" in check.hint) == (verdict, value is None)


def test_a_static_target_has_no_reference_to_resolve():
    """It has no `admin`, and was told as failed beside the line that says it has its value."""
    config = read_config('[[target]]\nname = "github"\nprovider = "static"\n', "taskbound.toml", hostname="here")
    (check,) = doctor.secrets(config, is_running=False)
    assert (check.verdict, check.says) == ("ok", "0 references resolve")
