"""Who answers at a database's address is on this machine, or proves its name."""

import pytest

from taskbound.formats.libpq import is_verified

VERIFIED = (
    "postgresql:///x", "postgresql://a:b@/x?host=/run/pg", "postgresql://a:b@127.0.0.1:5432/x",
    "postgresql://a:b@[::1]:5432,localhost/x?sslmode=disable", "postgresql://a:b@%2Frun%2Fpg/x",
    "postgresql://a:b@db.example:5432/x?sslmode=verify-full&sslrootcert=/ca.pem",
)  # fmt: skip
ELSEWVERIFIED = (
    "postgresql://a:b@db.example/x", "postgresql://a:b@db.example/x?sslmode=require",
    "postgresql://a:b@127.0.0.1,192.0.2.1/x?sslmode=verify-ca", "postgresql://a:b@192.0.2.1/x?host=127.0.0.1",
    "postgresql://a:b@/x?host=db.example", "postgresql:///x?service=shop", "postgresql://a:b@localhost.example/x",
)  # fmt: skip


@pytest.mark.parametrize("url", VERIFIED)
def test_who_can_only_be_here_and_who_proves_its_name_are_verified(url: str) -> None:
    assert is_verified(url, {})


@pytest.mark.parametrize("url", ELSEWVERIFIED)
def test_who_could_be_anybody_is_not(url: str) -> None:
    assert not is_verified(url, {})


def test_what_the_url_leaves_out_the_environment_says() -> None:
    assert is_verified("postgresql:///x", {"PGHOST": "/run/pg"})
    assert not is_verified("postgresql:///x", {"PGHOST": "db.example"})
    assert not is_verified("postgresql:///x", {"PGSERVICE": "shop"})
    assert is_verified("postgresql://a:b@db.example/x", {"PGSSLMODE": "verify-full"})
    assert not is_verified("postgresql://a:b@db.example/x?sslmode=require", {"PGSSLMODE": "verify-full"})
