"""What is sent to PostgreSQL: names, verifiers and statements, as text. Nothing here waits.

Every statement is read with `search_path = pg_catalog`, so that nothing that a lease made in a
schema of its own can stand in for a function or operator that the broker means.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskbound.core.lease import SETTLE

CONNECTIONS = 20  # that one lease may hold at a time: a job's pool, and never all that the server has
MEMBER = "INHERIT TRUE, SET FALSE, ADMIN FALSE"  # with SET it could make things that belong to the stable role
COMMIT_WITHIN = SETTLE / 3  # after the guard, idle and in COMMIT each: together well within the settle time (D3)
MILLISECOND = timedelta(milliseconds=1)
TOO_LATE = "TB001"  # our SQLSTATE: the create-deadline is over

OID = "SELECT oid FROM pg_roles WHERE rolname = $1"
NAMES = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)"
SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1"
OLD_EPOCHS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = current_user AND starts_with(application_name, $1) AND application_name <> $2"""

# Each column is true where the sentence of the same place in COMPLAINTS holds.
UNFIT = """
SELECT
    (SELECT rolsuper OR rolbypassrls OR rolreplication FROM pg_roles WHERE rolname = current_user),
    current_setting('max_prepared_transactions') <> '0',
    NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1 AND pg_has_role(oid, 'SET') AND pg_has_role(oid, 'USAGE')),
    NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $2 AND pg_has_role(oid, 'SET') AND pg_has_role(oid, 'USAGE')),
    EXISTS (SELECT FROM pg_roles WHERE rolname = $2 AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls)),
    EXISTS (SELECT FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = member WHERE rolname = $2)"""
COMPLAINTS = (
    "the broker is a superuser or may bypass row security or replicate",
    "max_prepared_transactions is not 0: a prepared transaction outlives its session",
    "the broker is not a member of the owner role with SET and INHERIT",
    "the broker is not a member of the quarantine role with SET and INHERIT",
    "the quarantine role may log in, make roles or bypass row security",
    "the quarantine role is a member of another role",
)

# A role is stable when nobody logs in as it and it owns nothing that a member could replace.
UNSTABLE = """
SELECT wanted FROM unnest($1::text[]) AS wanted LEFT JOIN pg_roles AS role ON role.rolname = wanted
WHERE role.oid IS NULL OR role.rolcanlogin OR starts_with(wanted, 'tb_')
    OR EXISTS (SELECT FROM pg_roles AS ours
               WHERE ours.rolname IN (current_user, $2, $3) AND pg_has_role(role.oid, ours.oid, 'MEMBER'))
    OR EXISTS (SELECT FROM pg_shdepend
               WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
                   AND refobjid IN (SELECT oid FROM pg_roles WHERE pg_has_role(role.oid, oid, 'USAGE')))"""

# Where a member of the roles may make what the owner and quarantine roles could then not own.
NOT_OPEN = """
SELECT 'schema ' || quote_ident(nspname) AS place FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner
WHERE NOT starts_with(rolname, 'tb_') AND rolname <> $3
    AND EXISTS (SELECT FROM unnest($1::text[]) AS wanted WHERE has_schema_privilege(wanted, pg_namespace.oid, 'CREATE'))
    AND NOT (has_schema_privilege($2::text, pg_namespace.oid, 'CREATE')
             AND has_schema_privilege($3::text, pg_namespace.oid, 'CREATE'))
UNION ALL
SELECT 'database ' || quote_ident(datname) FROM pg_database
WHERE EXISTS (SELECT FROM unnest($1::text[]) AS wanted WHERE has_database_privilege(wanted, oid, 'CREATE'))
    AND NOT has_database_privilege($3::text, oid, 'CREATE')"""


def quote_ident(name: str) -> str:
    """Return the name as an identifier that stands for exactly it."""
    if not name or "\0" in name:
        raise ValueError("a name at PostgreSQL is neither empty nor does it hold a null")
    return '"' + name.replace('"', '""') + '"'


def scram_verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """Return what PostgreSQL keeps instead of the password (RFC 5802 3, RFC 7677).

    Who reads it can neither log in with it nor find 192 random bits from it.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def create_statements(
    name: str, *, exists: bool, verifier: str, expires: datetime, create_by: datetime, member_of: Sequence[str]
) -> list[str]:
    """Return the creating transaction up to, but without, its COMMIT."""
    login = f"LOGIN PASSWORD '{verifier}' VALID UNTIL '{expires.isoformat()}' CONNECTION LIMIT {CONNECTIONS}"
    limits = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    return [
        "BEGIN",
        f"ALTER ROLE {name} {login}" if exists else f"CREATE ROLE {name} {login} {limits}",
        *(f"GRANT {quote_ident(role)} TO {name} WITH {MEMBER}" for role in member_of),
        # Without this a broker that is no superuser may neither reassign nor drop what the role owns.
        f"GRANT {name} TO CURRENT_USER WITH INHERIT TRUE, SET FALSE",
        f"SET LOCAL statement_timeout = {COMMIT_WITHIN // MILLISECOND}",  # COMMIT's own
        deadline_guard(create_by),  # last: a stall after it is a stall before COMMIT, which has its own limits
    ]


def deadline_guard(create_by: datetime) -> str:
    """Return the statement that fails once the target's own clock has reached the create-deadline (D3)."""
    late = f"clock_timestamp() >= timestamptz '{create_by.isoformat()}'"
    return f"DO $$ BEGIN IF {late} THEN RAISE 'too late' USING ERRCODE = '{TOO_LATE}'; END IF; END $$"


# Databases in which the role owns something or is named in what somebody was granted; 0 stands for shared objects.
DATABASES = """
SELECT DISTINCT coalesce(datname, current_database()) AS name,
    coalesce(datallowconn AND has_database_privilege(pg_database.oid, 'CONNECT'), true) AS reachable
FROM pg_shdepend LEFT JOIN pg_database ON pg_database.oid = dbid
WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1"""

MADE = """
SELECT classid, objid, what.type, what.identity, what.schema, classid = 'pg_class'::regclass AND EXISTS (
    SELECT FROM pg_class WHERE pg_class.oid = objid AND relkind IN ('r', 'p', 'v', 'm', 'f')) AS is_relation
FROM pg_shdepend, pg_identify_object(classid, objid, 0) AS what
WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'o'
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)
ORDER BY classid, objid"""

KEPT = """
SELECT what.type || ' ' || what.identity AS thing
FROM unnest($1::oid[], $2::oid[]) AS made (classid, objid) JOIN pg_shdepend USING (classid, objid),
    pg_identify_object(classid, objid, 0) AS what
WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = $3)
    AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""

LEASED_SCHEMAS = """
SELECT quote_ident(nspname) AS name FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner
WHERE quote_ident(nspname) = ANY ($1::text[]) AND (starts_with(rolname, 'tb_') OR rolname = $2)"""

# The allow-list: data, and nothing beside it that runs when the data is used. It is read after REASSIGN,
# which locked each table, so that nobody adds a trigger between the look and the end.
ORDINARY = """
WITH made AS (SELECT * FROM unnest($1::oid[], $2::oid[]) AS made (classid, objid))
SELECT classid, c.oid, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
    format('%I.%I', n.nspname, c.relname) AS name
FROM made JOIN pg_class AS c ON classid = 'pg_class'::regclass AND objid = c.oid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND (
    c.relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = c.oid
            AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i'))  -- it goes with its table
    OR c.relkind = 'r' AND NOT c.relispartition AND c.reloftype = 0 AND NOT c.relrowsecurity
        AND NOT c.relforcerowsecurity
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid)
        AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid)
        AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
        AND NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = c.oid)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype NOT IN ('p', 'u', 'n'))
        AND NOT EXISTS (SELECT FROM pg_index
                        WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
        AND NOT EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
        AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid)
        AND NOT EXISTS (  -- a domain or range may run a function; only of the owner's and a superuser's are we sure
            SELECT FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_roles ON pg_roles.oid = typowner
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND NOT rolsuper AND rolname <> $3))"""

# What somebody other than the owner may do with what the lease made, PUBLIC's defaults included.
GRANTED = """
WITH made AS (SELECT * FROM unnest($1::oid[], $2::oid[]) AS made (classid, objid)),
things AS (
    SELECT classid, objid, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
        format('%I.%I', nspname, relname) AS name, relowner AS owner, coalesce(relacl, '{}') ||
        coalesce((SELECT array_agg(one) FROM pg_attribute, unnest(attacl) AS one WHERE attrelid = objid), '{}') AS acl
    FROM made JOIN pg_class ON classid = 'pg_class'::regclass AND objid = pg_class.oid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT classid, objid, 'ROUTINE', objid::regprocedure::text, proowner,
        coalesce(proacl, acldefault('f', proowner))
    FROM made JOIN pg_proc ON classid = 'pg_proc'::regclass AND objid = pg_proc.oid
    UNION ALL
    SELECT classid, objid, 'TYPE', format_type(objid, NULL), typowner, coalesce(typacl, acldefault('T', typowner))
    FROM made JOIN pg_type ON classid = 'pg_type'::regclass AND objid = pg_type.oid
    UNION ALL
    SELECT classid, objid, 'SCHEMA', quote_ident(nspname), nspowner, coalesce(nspacl, '{}')
    FROM made JOIN pg_namespace ON classid = 'pg_namespace'::regclass AND objid = pg_namespace.oid
    UNION ALL
    SELECT classid, objid, 'FOREIGN SERVER', quote_ident(srvname), srvowner, coalesce(srvacl, '{}')
    FROM made JOIN pg_foreign_server ON classid = 'pg_foreign_server'::regclass AND objid = pg_foreign_server.oid
    UNION ALL
    SELECT classid, objid, 'LARGE OBJECT', objid::text, lomowner, coalesce(lomacl, '{}')
    FROM made JOIN pg_largeobject_metadata AS large ON classid = 'pg_largeobject'::regclass AND objid = large.oid
)
SELECT DISTINCT classid, objid, kind, name, coalesce(quote_ident(rolname), 'PUBLIC') AS grantee,
    coalesce(starts_with(rolname, 'tb_'), true) AS passing
FROM things, aclexplode(CASE WHEN cardinality(acl) > 0 THEN acl END) AS granted
    LEFT JOIN pg_roles ON pg_roles.oid = granted.grantee
WHERE granted.grantee <> owner AND NOT coalesce(rolname = ANY ($3::text[]), false)"""


def withdrawals(granted: Mapping[str, Any], *, ordinary: bool) -> list[str]:
    """Return the statements that take back what a lease let somebody else do with what it made.

    Of ordinary data a stable role keeps reading and writing: a job that grants its result to the
    application is meant to. It loses what runs (a trigger, a foreign key's cast) and what it could
    hand on. PUBLIC and other leases lose all: a role that is named in a grant can't be dropped.
    """
    about = f"ON {granted['kind']} {granted['name']} FROM {granted['grantee']} CASCADE"
    if not ordinary or granted["passing"]:
        return [f"REVOKE ALL {about}"]
    runs = [f"REVOKE TRIGGER, REFERENCES {about}"] if granted["kind"] == "TABLE" else []
    return [*runs, f"REVOKE GRANT OPTION FOR ALL {about}"]
