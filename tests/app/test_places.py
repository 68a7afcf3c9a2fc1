"""Where a target's logins are made: on this machine, or at a server that proves its name."""

from datetime import timedelta

import pytest

from taskbound.app.places import admin_login
from taskbound.core.config import TargetConfig
from taskbound.core.errors import InvalidRequest

TARGET = TargetConfig("shop", "postgres", "env:SHOP_ADMIN", "owner", "quarantine", "dev", {}, timedelta(minutes=5))


def test_a_target_elsewhere_that_proves_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGSSLMODE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHOP_ADMIN", "postgresql://broker:secret-of-the-broker@db.example/shop?sslmode=require")
    with pytest.raises(InvalidRequest, match="target shop is not on this machine") as refused:
        admin_login(TARGET)
    assert refused.value.code == "invalid_config" and "verify-full" in refused.value.hint
    assert "secret-of-the-broker" not in f"{refused.value}{refused.value.hint}"
    for address in ("postgresql://b:s@db.example/shop?sslmode=verify-full", "postgresql://b:s@127.0.0.1:5432/shop"):
        monkeypatch.setenv("SHOP_ADMIN", address)
        assert admin_login(TARGET).reveal() == address
