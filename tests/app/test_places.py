"""Addresses of databases: of a server that proves its name, and kept where no agent reads them."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from taskbound.app.places import admin_login, database_of, tell_places
from taskbound.core.config import Config, TargetConfig
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


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPASSFILE", "PGSSLKEY", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)


def test_run_is_told_of_the_files_with_secrets_that_the_address_of_a_target_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(Config("example.org"), targets=(TARGET,), checkpoints=str(tmp_path / "second"))

    def told(address: str) -> list[str]:
        monkeypatch.setenv("SHOP_ADMIN", address)
        tell_places(config, None, tmp_path, "here")
        named: list[str] = json.loads((tmp_path / "places.json").read_bytes())["named"]
        return named

    assert told("postgresql://b@127.0.0.1/shop?passfile=/a/pass&sslkey=/a/key&sslmode=disable") == ["/a/pass", "/a/key"]
    monkeypatch.setenv("PGPASSFILE", "/b/pass")
    monkeypatch.setenv("PGSERVICEFILE", "/b/services")
    assert told("postgresql://b@127.0.0.1/shop?sslkey=/a/key") == ["/b/pass", "/a/key", "/b/services"]
    assert told("postgresql://[") == [] and told("") == []


@pytest.mark.parametrize("reference", ["file:{}/dsn", "postgresql://tb@127.0.0.1/tb?passfile={}/dsn"])
def test_a_secret_of_the_store_lies_where_run_hides_it(tmp_path: Path, reference: str) -> None:
    (tmp_path / "state").mkdir()
    for folder in (tmp_path, tmp_path / "state"):
        (folder / "dsn").write_text("postgresql://tb@127.0.0.1/tb")
        (folder / "dsn").chmod(0o600)
    assert database_of(reference.format(tmp_path / "state"), tmp_path / "state").reveal().startswith("postgresql://")
    with pytest.raises(InvalidRequest, match="outside of the state directory"):
        database_of(reference.format(tmp_path), tmp_path / "state")


@pytest.mark.parametrize(("variable", "member"), [("PGPASSFILE", "passfile"), ("PGSSLKEY", "sslkey")])
def test_a_secret_of_the_store_that_the_environment_names_lies_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, member: str
) -> None:
    address = "postgresql://tb@127.0.0.1/tb"
    monkeypatch.setenv(variable, str(tmp_path / "state/secret"))
    assert database_of(address, tmp_path / "state").reveal() == address
    monkeypatch.setenv(variable, str(tmp_path / "secret"))
    with pytest.raises(InvalidRequest, match=f"{variable}: .* outside of the state directory"):
        database_of(address, tmp_path / "state")
    own = f"{address}?{member}={tmp_path}/state/secret"  # then asyncpg does not look at the variable
    assert database_of(own, tmp_path / "state").reveal() == own


def test_a_service_is_no_address_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="names a service"):
        database_of("postgresql://tb@127.0.0.1/tb?service=shop", tmp_path)
