"""Addresses of servers that are asked about their logins: what is refused before anything is sent."""

import pytest

from taskbound.app.issuers import issuer, sparing, to_look_at
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.secret import Secret
from taskbound.plugins.issuers.postgres import PostgresIssuer

WORD = "ghq8Fk2Lw91xZtR4"


def names(postgres: list[str], redis: list[str]) -> list[str]:
    return [one.name for one in to_look_at(postgres, redis, {"REDISCLI_AUTH": WORD})]


@pytest.mark.parametrize(
    ("postgres", "redis"),
    [
        (f"postgresql://app:{WORD}@127.0.0.1/shop", ""),
        (f"postgresql://127.0.0.1/shop?user=app&password={WORD}", ""),
        (f"postgresql://127.0.0.1/shop?sslpassword={WORD}", ""),
        ("", f"redis://:{WORD}@127.0.0.1"),
        ("", f"rediss://app:{WORD}@cache.corp.example"),
    ],
)
def test_a_password_on_the_command_line_is_refused(postgres: str, redis: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        names([postgres] if postgres else [], [redis] if redis else [])
    assert WORD not in str(refused.value) and refused.value.hint.startswith("set it in")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app@db.corp.example/shop",
        "postgresql://app@db.corp.example/shop?sslmode=require",
        "postgresql://app@localhost,db.corp.example/shop",
        "postgresql:///shop?host=db.corp.example",
        "redis://cache.corp.example",
        "redis://app@10.0.0.7:6379",
        "redis://127.0.0.1.corp.example",
    ],
)
def test_a_server_beyond_this_machine_has_to_prove_who_it_is(address: str) -> None:
    with pytest.raises(InvalidRequest, match="would not be verified"):
        issuer(Secret(address), {})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("postgresql://app@db.corp.example/shop?sslmode=verify-full", "postgresql://db.corp.example:5432"),
        ("postgresql://app@127.0.0.1:5433/shop", "postgresql://127.0.0.1:5433"),
        ("postgres://[::1]:5433/shop", "postgresql://[::1]:5433"),
        ("postgresql:///shop?host=/run/postgresql", "postgresql://localhost:5432"),
        ("postgresql:///shop?host=/run/postgresql&port=5444", "postgresql://localhost:5444"),
        ("redis://localhost", "redis://localhost:6379"),
        ("redis://[::1]:7000/3", "redis://[::1]:7000"),
        ("rediss://app@cache.corp.example:6380", "redis://cache.corp.example:6380"),
    ],
)
def test_a_server_is_called_by_host_and_port(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(variable, raising=False)
    assert issuer(Secret(address), {}).name == name
    assert (names([], [address]) if address.startswith("redis") else names([address], [])) == [name]


@pytest.mark.parametrize(
    ("postgres", "redis"),
    [
        ("redis://127.0.0.1", ""),
        ("127.0.0.1:5432", ""),
        ("postgresql://127.0.0.1:port/x", ""),
        ("postgresql://[::1/x", ""),
        ("", "postgresql://127.0.0.1/x"),
        ("", "redis://"),
        ("", "redis://127.0.0.1:port"),
        ("", "unix:///run/redis.sock"),
    ],
)
def test_what_is_no_address_is_refused(postgres: str, redis: str) -> None:
    with pytest.raises(InvalidRequest, match="no address"):
        names([postgres] if postgres else [], [redis] if redis else [])


def test_the_password_of_a_redis_is_what_the_environment_says_whatever_is_in_it() -> None:
    (one,) = to_look_at([], ["redis://app@127.0.0.1"], {"REDISCLI_AUTH": "a/b@c:d%e?f#g"})
    assert vars(one)["_admin"].password == "a/b@c:d%e?f#g" and "a/b" not in repr(vars(one))


PG = "127.0.0.1:5433"


@pytest.mark.parametrize(
    ("asks", "others"),
    [
        ((f"postgresql://vault@{PG}/shop", f"postgresql://helper@{PG}/shop"), ()),
        ((f"postgresql://helper@{PG}/shop",), ("postgresql://localhost:5433/taskbound?user=vault",)),
    ],
    ids=["two-targets", "store"],
)
async def test_no_login_by_which_taskbound_works_is_ended(asks, others, monkeypatch):
    """Who has it in a file is offboarded: without it nothing could be taken back at that server."""
    ended = list[str]()

    async def kill(_, login):
        ended.append(login)

    monkeypatch.setattr(PostgresIssuer, "kill", kill)
    (known,) = sparing(
        [PostgresIssuer(Secret(one)) for one in asks], [PostgresIssuer(Secret(one)) for one in others]
    ).values()
    with pytest.raises(Unavailable, match="taskbound itself works at"):
        await known.kill("vault")
    await known.kill("app")
    assert ended == ["app"]
