"""The PostgreSQL provider keeps the provider's contract, on a real server with a broker that is no superuser.

And what only this target promises: no ghost creates (T1.3), nothing of others touched (T1.13), no
secret in the target's log, a limit to every wait.
"""

import asyncio
import base64
import hashlib
import hmac
import time
import traceback
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from taskbound.app import new_id, new_password, now
from taskbound.core.errors import TargetUnavailable
from taskbound.core.lease import Recipe
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres import PostgresProvider, sql
from tests.contracts.provider import *  # noqa: F403
from tests.postgres.server import BROKER, PASSWORD, server  # noqa: F401
from tests.postgres.target import INSTANCE, at, late_lease, new_lease, provider_at  # noqa: F401
from tests.profile import trials


@pytest.fixture
async def target(at):  # noqa: F811
    async def lets_in(lease, secret):
        return await at.server.lets_in(lease.name, secret.reveal())

    async def plant(name):
        planted.append(name)
        await at.superuser.execute(f"CREATE ROLE {sql.quote_ident(name)} LOGIN")

    planted: list[str] = []
    at.instance, at.lets_in, at.plant = INSTANCE, lets_in, plant
    yield at
    for name in planted:
        await at.superuser.execute(f"DROP ROLE IF EXISTS {sql.quote_ident(name)}")


# What a login is


def test_the_verifier_is_the_one_of_the_rfc():
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")  # RFC 7677 3
    stored, server_key = sql.scram_verifier("pencil", salt).split("$")[2].split(":")
    bare = "n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"{bare},r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(base64.b64decode(stored), message, "sha256")
    key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(key).digest() == base64.b64decode(stored)
    answer = hmac.digest(base64.b64decode(server_key), message, "sha256")
    assert base64.b64encode(answer) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("name", ["shop", "Shop", 'a"b', '"', '""; DROP ROLE x; --', "ü\n'$$\\", "select"])
async def test_a_quoted_name_stands_for_exactly_it(at, name):  # noqa: F811
    assert await at.superuser.fetchval(f"SELECT 1 AS {sql.quote_ident(name)}") == 1
    row = await at.superuser.fetchrow(f"SELECT 1 AS {sql.quote_ident(name)}")
    assert list(row.keys()) == [name]


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(ValueError, match="null"):
        sql.quote_ident(name)


async def test_a_login_after_valid_until_is_refused(at):  # noqa: F811
    made = new_lease(expires=now() + timedelta(seconds=1))
    secret = await at.provider.create(made)
    assert await at.server.lets_in(made.name, secret.reveal())
    await asyncio.sleep(1.1)
    assert not await at.server.lets_in(made.name, secret.reveal())


async def test_a_lease_may_use_its_roles_and_be_nobody_else(at):  # noqa: F811
    made = new_lease("shop_writer")
    login = await at.server.login(made.name, (await at.provider.create(made)).reveal())
    assert await login.fetchval("SELECT count(*) FROM orders") == 10000
    await login.execute("CREATE TABLE result (id int)")
    assert await login.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'result'") == made.name
    for refused in (
        "SET ROLE shop_writer",
        "ALTER TABLE result OWNER TO shop_writer",
        f"GRANT shop_writer TO {made.name} WITH ADMIN TRUE",
        f"GRANT {made.name} TO shop_reader",
        "CREATE ROLE another",
        f"ALTER ROLE {made.name} VALID UNTIL 'infinity'",
        f"ALTER ROLE {made.name} CREATEROLE",
        f"SET ROLE {BROKER}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(refused)
    await login.close()


async def test_the_targets_log_holds_no_password_and_nothing_that_logs_in(at):  # noqa: F811
    drawn = []

    def draw():
        drawn.append(new_password().reveal())
        return Secret(drawn[-1])

    provider = PostgresProvider(
        at.server.admin,
        owner="shop_owner",
        quarantine="shop_quarantine",
        instance=INSTANCE,
        node="n2",
        epoch="e1",
        new_password=draw,
    )
    made = new_lease()
    secret = await provider.create(made)
    await provider.create(replace(made, create_by=now() + timedelta(seconds=5)))
    with pytest.raises(TargetUnavailable):
        await provider.create(late_lease(-1))
    await provider.close()
    log = at.server.log.read_text()
    verifier = log[log.index(f"CREATE ROLE {made.name} LOGIN PASSWORD '") :].split("'")[1]
    salt, stored = verifier.split("$")[1].split(":")[1], verifier.split("$")[2].split(":")[0]
    salted = hashlib.pbkdf2_hmac("sha256", secret.reveal().encode(), base64.b64decode(salt), 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")  # whoever has this logs in
    assert hashlib.sha256(key).digest() == base64.b64decode(stored), "the search looks for the wrong thing"
    for value in [*(one.encode() for one in drawn), PASSWORD.encode(), salted, key]:
        for form in (
            value.decode("latin-1"),
            value.hex(),
            base64.b64encode(value).decode(),
            base64.b64encode(value)[:-4].decode(),
        ):
            assert form not in log
    assert len(drawn) == 6


# No ghost creates (D3, T1.3)

STALL = 0.5


def stalled(monkeypatch, place: int, guard_first: bool = False, whole: bool = False) -> None:
    """Let the target stall before the statement at this place; `whole` forgets the explicit transaction."""
    real = sql.create_statements

    def create_statements(*args, **named):
        statements = real(*args, **named)
        if guard_first:
            statements.insert(1, statements.pop())
        statements.insert(place if place >= 0 else len(statements) + 1 + place, f"SELECT pg_sleep({STALL})")
        return statements[1:] if whole else statements

    monkeypatch.setattr(sql, "create_statements", create_statements)


async def killed(provider, lease) -> None:
    """Run a create whose process dies while the target is at it: the socket is gone and nothing was said."""
    creating = asyncio.ensure_future(provider.create(lease))
    await asyncio.sleep(STALL / 2)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5, 6])
async def test_a_killed_process_leaves_no_ghost_wherever_the_target_stalls(at, monkeypatch, place):  # noqa: F811
    stalled(monkeypatch, place)
    for _ in range(trials(10, 1)):
        made = new_lease()
        await killed(at.provider, made)
        await asyncio.sleep(STALL)
        assert not await at.exists(made.name)


async def test_an_auto_committed_create_is_a_ghost_and_taking_over_ends_it(at, monkeypatch):  # noqa: F811
    stalled(monkeypatch, -1, whole=True)
    made = new_lease()
    await killed(at.provider, made)
    assert not await at.exists(made.name)
    await asyncio.sleep(STALL)
    assert await at.exists(made.name), "the control shows no ghost: the tests of takeover prove nothing"

    made = new_lease()
    await killed(at.provider, made)
    successor = provider_at(at.server, epoch="e2")
    started = time.monotonic()
    assert made.name not in await successor.names()
    assert time.monotonic() - started < STALL / 2
    await asyncio.sleep(STALL)
    assert not await at.exists(made.name)
    await successor.close()


@pytest.mark.parametrize("guard_first", [False, True], ids=["deadline-last", "deadline-first"])
async def test_the_deadline_is_kept_only_where_it_is_asked_last(at, monkeypatch, guard_first):  # noqa: F811
    stalled(monkeypatch, 2, guard_first=guard_first)
    made = late_lease(STALL / 2)
    if guard_first:
        await at.provider.create(made)
        assert await at.exists(made.name), "the control was refused"
    else:
        with pytest.raises(TargetUnavailable, match="too late"):
            await at.provider.create(made)
        assert not await at.exists(made.name)


async def test_a_process_that_sleeps_before_commit_wakes_up_to_a_rollback(at):  # noqa: F811
    made, sleeper = new_lease(), await at.provider._connect(statement=2000, lock=1000, idle=666)
    statements = sql.create_statements(
        made.name,
        exists=False,
        verifier=sql.scram_verifier("x", b"x" * 16),
        expires=made.expires,
        create_by=made.create_by,
        member_of=("shop_reader",),
    )
    await sleeper.execute(";\n".join(statements))
    await asyncio.sleep(1)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await sleeper.execute("COMMIT")
    assert not await at.exists(made.name)
    assert sql.COMMIT_WITHIN // sql.MILLISECOND == 666


async def test_taking_over_ends_only_the_old_epochs_of_this_node(at):  # noqa: F811
    others = [provider_at(at.server, node="n1", epoch="e0"), provider_at(at.server, node="n11", epoch="e0")]
    others.append(provider_at(at.server, instance="zzzzzz", epoch="e0"))
    for other in others:
        await other.names()
    await at.provider.names()
    marks = await at.superuser.fetch("SELECT application_name AS mark FROM pg_stat_activity WHERE usename = $1", BROKER)
    assert {row["mark"] for row in marks} == {"tb/abcdef/n1/e1", "tb/abcdef/n11/e0", "tb/zzzzzz/n1/e0"}
    for other in others:
        await other.close()


@pytest.mark.parametrize("epoch", ["", "a/b", "é", "e" * 60, "a b"])
def test_a_mark_that_the_target_would_change_is_refused(epoch):
    with pytest.raises(ValueError, match="epoch"):
        PostgresProvider(
            Secret("x"), owner="o", quarantine="q", instance="abcdef", node="n", epoch=epoch, new_password=new_password
        )


# What is not ours (T1.13)


async def test_what_is_not_ours_is_neither_listed_nor_touched(at):  # noqa: F811
    ours = [new_lease() for _ in range(trials(200, 40))]
    for lease in ours:
        await at.provider.create(replace(lease, create_by=now() + timedelta(seconds=5)))
    letters = "a" * 20
    odd = [
        f"tb_zzzzzz_{letters}",
        f"TB_{INSTANCE}_{letters}",
        f"tb_{INSTANCE}",
        f"tb-{INSTANCE}_{letters}",
        f"tЬ_{INSTANCE}_{letters}",
    ]
    decoys = odd + [f"tb_zzzzzz_{new_id('l')[1:]}" for _ in range(trials(1000, 200))]
    for name in decoys:
        await at.superuser.execute(f"CREATE ROLE {sql.quote_ident(name)} LOGIN")
    before = await at.superuser.fetch("SELECT oid, rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY ($1)", decoys)
    assert await at.provider.names() == {lease.name for lease in ours}
    for lease in ours:
        await at.provider.cut(lease)
        await at.provider.clean(lease)
    assert await at.provider.names() == set()
    assert before == await at.superuser.fetch(
        "SELECT oid, rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY ($1)", decoys
    )
    for name in decoys:
        await at.superuser.execute(f"DROP ROLE {sql.quote_ident(name)}")


async def test_the_broker_cannot_alter_a_role_that_it_did_not_make_even_if_told_to(at):  # noqa: F811
    planted = new_lease()
    await at.superuser.execute(f"CREATE ROLE {planted.name} LOGIN")
    for method in (at.provider.create, at.provider.cut):
        with pytest.raises(TargetUnavailable):
            await method(planted)
    broker = await asyncpg.connect(at.server.admin.reveal())
    for statement in (
        "ALTER ROLE %s NOLOGIN",
        "DROP ROLE %s",
        "GRANT %s TO CURRENT_USER",
        "ALTER ROLE shop_owner LOGIN",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await broker.execute(statement.replace("%s", planted.name))
    assert not await broker.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    await broker.close()


async def test_a_lease_of_another_instance_is_refused(at):  # noqa: F811
    for method in (at.provider.create, at.provider.cut, at.provider.clean):
        with pytest.raises(TargetUnavailable, match="another instance"):
            await method(replace(new_lease(), instance="zzzzzz"))


# What is not handed out because it could not be taken back


@pytest.mark.parametrize(
    "roles", [("absent",), ("shop_owner",), ("postgres",), (BROKER,), ("shop_quarantine",), ("shop_reader", 'x"; --')]
)
async def test_only_stable_roles_are_granted(at, roles):  # noqa: F811
    with pytest.raises(TargetUnavailable, match="not fit"):
        await at.provider.create(new_lease(*roles))
    assert await at.provider.names() == set()


@pytest.mark.parametrize("grant", [{}, {"member_of": ()}, {"member_of": ("shop_reader",), "statements": ("x",)}])
async def test_a_grant_that_is_not_understood_is_refused(at, grant):  # noqa: F811
    with pytest.raises(TargetUnavailable, match="member_of"):
        await at.provider.create(replace(new_lease(), recipe=Recipe(grant, "cut now")))


@pytest.mark.parametrize(
    ("spoil", "mend", "complaint"),
    [
        ("ALTER ROLE taskbound_broker SUPERUSER", "ALTER ROLE taskbound_broker NOSUPERUSER", "superuser"),
        ("ALTER ROLE shop_quarantine LOGIN", "ALTER ROLE shop_quarantine NOLOGIN", "may log in"),
        ("GRANT shop_reader TO shop_quarantine", "REVOKE shop_reader FROM shop_quarantine", "member of another"),
        ("GRANT shop_owner TO shop_reader", "REVOKE shop_owner FROM shop_reader", "not fit"),
        (
            "ALTER TABLE orders OWNER TO shop_reader",
            "ALTER TABLE orders OWNER TO shop_owner; GRANT SELECT ON orders TO shop_reader",  # an owner's own is lost
            "not fit",
        ),
        (
            "REVOKE CREATE ON SCHEMA public FROM shop_quarantine; GRANT CREATE ON SCHEMA public TO shop_reader",
            "REVOKE CREATE ON SCHEMA public FROM shop_reader; GRANT CREATE ON SCHEMA public TO shop_quarantine",
            "may create in schema public",
        ),
        (
            "GRANT CREATE ON DATABASE shop2 TO shop_reader",
            "REVOKE CREATE ON DATABASE shop2 FROM shop_reader",
            "may create in database shop2",
        ),
        (
            "REVOKE shop_quarantine FROM taskbound_broker",
            "GRANT shop_quarantine TO taskbound_broker WITH INHERIT TRUE, SET TRUE",
            "quarantine role with SET",
        ),
    ],
)
async def test_nothing_is_handed_out_that_could_not_be_taken_back(at, spoil, mend, complaint):  # noqa: F811
    made = new_lease()
    await at.provider.create(made)
    await at.superuser.execute(spoil)
    try:
        with pytest.raises(TargetUnavailable, match=complaint):
            await at.provider.create(new_lease())
        await at.provider.cut(made)  # taking back is tried all the same
    finally:
        await at.superuser.execute(mend)
    await at.provider.clean(made)


# Trouble at the target (T1.9)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "postgresql://u:topsecret@127.0.0.1:1/x", "postgresql://u:topsecret@[::1/x", "http://u:topsecret@h/x"],
)
async def test_a_target_that_is_not_there_is_unavailable_and_nothing_is_told(url):
    lost = PostgresProvider(
        Secret(url), owner="o", quarantine="q", instance="abcdef", node="n1", epoch="e1", new_password=new_password
    )
    for call in (lost.create(new_lease()), lost.cut(new_lease()), lost.clean(new_lease()), lost.names()):
        with pytest.raises(TargetUnavailable) as caught:
            await call
        assert "topsecret" not in "".join(traceback.format_exception(caught.value))
    await lost.close()


async def test_a_target_that_never_answers_ends_within_the_limit(monkeypatch):
    monkeypatch.setattr("taskbound.plugins.providers.postgres.CONNECT_WITHIN", 0.3)
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    lost = PostgresProvider(
        Secret(f"postgresql://u:p@127.0.0.1:{port}/x"),
        owner="o",
        quarantine="q",
        instance="abcdef",
        node="n1",
        epoch="e1",
        new_password=new_password,
    )
    started = time.monotonic()
    for call in (lost.create(new_lease()), lost.cut(new_lease()), lost.names()):
        with pytest.raises(TargetUnavailable, match="failed to"):
            await call
    assert time.monotonic() - started < 3
    silent.close()


async def test_taking_back_never_waits_behind_a_create_and_goes_on_after_a_broken_connection(at, monkeypatch):  # noqa: F811
    made = new_lease()
    await at.provider.create(made)
    stalled(monkeypatch, 2)
    creating = [asyncio.ensure_future(at.provider.create(new_lease())) for _ in range(12)]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await at.provider.cut(made)
    await at.provider.clean(made)
    assert time.monotonic() - started < STALL
    await asyncio.gather(*creating)

    await at.superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'taskbound_broker'"
    )
    for _ in range(3):
        try:
            await at.provider.names()
            break
        except TargetUnavailable:
            continue
    else:
        pytest.fail("the provider never connects again")
