"""What the tests at a real PostgreSQL share: a provider, its leases, and who may look at everything."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from taskbound.app import new_id, new_password, now
from taskbound.core.lease import Lease, Recipe
from taskbound.plugins.providers.postgres import PostgresProvider
from tests.contracts.store import lease, task
from tests.postgres.server import RIGHTS, Server

INSTANCE = "abcdef"


def provider_at(server: Server, *, node: str = "n1", epoch: str = "e1", **changed) -> PostgresProvider:
    settings = {"owner": "shop_owner", "quarantine": "shop_quarantine", "instance": INSTANCE} | changed
    return PostgresProvider(server.admin, node=node, epoch=epoch, new_password=new_password, **settings)


def new_lease(*roles: str, **fields) -> Lease:
    made = lease(task(at=now()), new_id("l"))
    return replace(made, recipe=Recipe({"member_of": roles or ("shop_reader",)}, "cut now"), **fields)


def late_lease(seconds: float) -> Lease:
    return new_lease(create_by=now() + timedelta(seconds=seconds))


@pytest.fixture
async def at(server):
    """The provider at the real server, the superuser's eyes, and what was quarantined."""
    quarantined: dict[str, tuple[str, ...]] = {}

    async def on_quarantine(lease, things):
        quarantined[lease.id] = (*quarantined.get(lease.id, ()), *things)

    provider = provider_at(server, on_quarantine=on_quarantine)
    superuser = await server.superuser()

    async def sessions(name):
        return await superuser.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", name)

    async def exists(name):
        return await superuser.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name)

    yield SimpleNamespace(
        provider=provider,
        server=server,
        superuser=superuser,
        quarantined=quarantined,
        sessions=sessions,
        exists=exists,
        clock=now,
    )
    await provider.close()
    await superuser.execute(f"SET search_path = pg_catalog; {END_SESSIONS}")
    for database in ("shop", "shop2"):
        janitor = await server.superuser(database)
        await janitor.execute("SET search_path = pg_catalog")
        if await janitor.fetchval(IS_MADE):
            await janitor.execute(JANITOR)
            await janitor.execute(RIGHTS)
        await janitor.close()
    await superuser.execute(DROP_ROLES)
    await superuser.close()


IS_MADE = """
SELECT EXISTS (SELECT FROM pg_shdepend JOIN pg_roles ON pg_roles.oid = refobjid
               WHERE starts_with(rolname, 'tb_') OR rolname = 'shop_quarantine' AND deptype = 'o')
    OR (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i') <> 2"""
JANITOR = """
SET search_path = pg_catalog;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tb_') OR rolname = 'shop_quarantine' LOOP
        EXECUTE format('REASSIGN OWNED BY %I TO postgres; DROP OWNED BY %I CASCADE', name, name);
    END LOOP;
    FOR name IN SELECT oid FROM pg_largeobject_metadata LOOP PERFORM lo_unlink(name::oid); END LOOP;
    DROP SCHEMA IF EXISTS made CASCADE;
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
END $$;
"""
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(usename, 'tb_')"
DROP_ROLES = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tb_') LOOP
        EXECUTE format('DROP ROLE %I', name);
    END LOOP;
END $$"""
