"""A configuration file: taskbound.toml is read whole or not at all (INTERFACES 2).

`read_config` refuses with the first problem: InvalidRequest("invalid_config") naming the file, the
line where it can be found and the nearest known name. A secret that stands in the file is refused, and
never repeated in the message. What listens beyond this machine needs TLS. What is not built yet is
refused, not passed over.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from taskbound.core.config import (
    CLASS_OF,
    Ask,
    Config,
    IssuerConfig,
    LeaseCredential,
    TargetConfig,
    Tls,
    UpstreamConfig,
    is_loopback,
    origin_of,
)
from taskbound.core.errors import InvalidRequest
from taskbound.core.identity import JOIN_TOKEN, KINDS
from taskbound.core.intent import duration
from taskbound.core.refusal import nearest, only, problem, quoted, read_toml
from taskbound.formats import spiffe

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # of an upstream, target or grant: it stands in file names and addresses
ASSURANCES = ("unix", "handle", "token", "operator", JOIN_TOKEN)
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0]+")


def read_config(text: str, where: str, *, hostname: str) -> Config:
    """Return the configuration that the text of a file states; `where` names the file. Raises InvalidRequest."""
    table = read_toml(where, text, "invalid_config")
    try:
        return _config(table, hostname)
    except InvalidRequest as error:
        raise problem(where, text, str(error), hint=error.hint, code="invalid_config") from None


def _config(table: Mapping[str, Any], hostname: str) -> Config:
    single = ("trust_domain", "checkpoints", "sinks", "servers", "max_staleness", "listen", "ask")
    only(table, (*single, "upstream", "target", "issuer"), "configuration")
    listen, ask = _table(table, "listen"), _table(table, "ask")
    only(listen, ("api", "gateway", "tls"), "listen")
    only(ask, ("per_person_day",), "ask")
    targets = tuple(_targets(table))
    default = Config(_local_domain(hostname))
    config = Config(
        trust_domain=_trust_domain(table) if "trust_domain" in table else default.trust_domain,
        checkpoints=_checkpoints(table),
        sinks=_sinks(table),
        servers=_servers(table),
        max_staleness=duration(table, "max_staleness") or default.max_staleness,
        api=_texts(listen, "api") if "api" in listen else default.api,
        gateway=_texts(listen, "gateway") if "gateway" in listen else default.gateway,
        tls=_tls(listen),
        ask=_ask(ask),
        upstreams=tuple(_upstreams(table, targets)),
        targets=targets,
        issuers=tuple(_issuers(table)),
    )
    for address in (*config.api, *config.gateway):
        _listener(address, config.tls)
    if any(address.startswith("unix:") for address in config.gateway):
        _refuse("'gateway' is a socket, but MCP clients connect to an address", 'gateway = "127.0.0.1:8441"')
    return config


# --- one key -------------------------------------------------------------------------------------


def _refuse(message: str, hint: str = "") -> NoReturn:
    raise InvalidRequest(message, hint=hint)


def _text(table: Mapping[str, Any], key: str, where: str = "") -> str:
    if not isinstance(value := table.get(key), str) or not value.strip():
        _refuse(f"{where}{key!r} is missing, or no text")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str = "") -> tuple[str, ...]:
    """Return a list of texts, also of one text alone; nothing twice."""
    values = [table[key]] if isinstance(table[key], str) else table[key]
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        _refuse(f"{where}{key!r} is no list of texts")
    if len(set(values)) < len(values):
        _refuse(f"{where}{key!r} names one twice")
    return tuple(values)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if not isinstance(found := table.get(key, {}), Mapping):
        _refuse(f"{key!r} is no table", f"write [{key}]")
    return found


def _tables(table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each table of a list, and how it is called in messages; only with known keys."""
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        _refuse(f"{key!r} is no list of tables", f"write [[{key}]]")
    for place, entry in enumerate(entries, start=1):
        only(entry, known, f"{key} {place}")
        yield f"{key} {place}: ", entry


def _reference(table: Mapping[str, Any], key: str, where: str) -> str:
    """Return a reference to a secret. One that is no reference may be the secret: it is not repeated."""
    value = _text(table, key, where)
    if not _REFERENCE.fullmatch(value):
        _refuse(f"{where}{key!r} is no reference: no secret stands in this file", f'{key} = "env:NAME" or "file:/path"')
    return value


def _name(table: Mapping[str, Any], where: str, seen: set[str]) -> str:
    name = _text(table, "name", where)
    if not NAME.fullmatch(name):
        _refuse(f"{where}the name {quoted(name)} is not of a-z 0-9 _ -, at most 64 characters")
    if name in seen:
        _refuse(f"{where}{quoted(name)} is configured twice", "give it another name")
    seen.add(name)
    return name


def _url(value: str, where: str, key: str = "url") -> str:
    hint = f'write {key} = "http://127.0.0.1:9000/mcp", with a port up to 65535'
    try:
        parts = urlsplit(value)
        origin_of(value)
    except ValueError:
        _refuse(f"{where}{key!r} is no http or https address", hint)
    if parts.username is not None or parts.password is not None:
        _refuse(f"{where}{key!r} holds a user or password: no secret stands in this file")
    if parts.fragment:
        _refuse(f"{where}{key!r} has a fragment")
    return value


def _also(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = _texts(entry, "also", where) if "also" in entry else ()
    return tuple(_url(one, where, "also") for one in found)


# --- what listens, and where things are ----------------------------------------------------------


def _local_domain(hostname: str) -> str:
    return f"{re.sub(r'[^a-z0-9._-]', '-', hostname.lower())[:249] or 'localhost'}.local"


def _trust_domain(table: Mapping[str, Any]) -> str:
    try:
        return spiffe.make(_text(table, "trust_domain"), "agent").trust_domain
    except spiffe.MalformedSpiffeId as error:
        _refuse(f"'trust_domain': {error}")


def _checkpoints(table: Mapping[str, Any]) -> str | None:
    if "checkpoints" not in table:
        return None
    value = _text(table, "checkpoints")
    if not value.startswith("file:/"):
        _refuse("'checkpoints' is no directory by its whole path", 'checkpoints = "file:/mnt/other/taskbound"')
    return value.removeprefix("file:")


def _sinks(table: Mapping[str, Any]) -> tuple[str, ...]:
    values = _texts(table, "sinks") if "sinks" in table else ()
    for value in values:
        if not value.startswith("file:/"):
            hint = 'sinks = ["file:/var/log/taskbound/events.jsonl"]'
            _refuse(f"'sinks': {quoted(value)} is no file by its whole path", hint)
    return tuple(value.removeprefix("file:") for value in values)


def _servers(table: Mapping[str, Any]) -> tuple[str, ...]:
    values = _texts(table, "servers") if "servers" in table else ()
    for value in values:
        if not _REFERENCE.fullmatch(value):  # it is not quoted: an address holds a password
            _refuse("'servers' holds no reference: no secret stands in this file", 'servers = ["env:REDIS_ADMIN"]')
    return values


def _tls(listen: Mapping[str, Any]) -> Tls | None:
    if "tls" not in listen:
        return None
    table = _table(listen, "tls")
    only(table, ("certificate", "key", "client_ca"), "listen.tls")
    where = "listen.tls: "
    return Tls(
        certificate=_reference(table, "certificate", where),
        key=_reference(table, "key", where),
        client_ca=_reference(table, "client_ca", where) if "client_ca" in table else None,
    )


def _listener(address: str, tls: Tls | None) -> None:
    if address.startswith("unix:"):
        if address == "unix:" or "\0" in address:
            _refuse(f"the address {quoted(address)} names no socket", 'write "unix:run/api.sock"')
        return
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or (":" in host) != bracketed or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        _refuse(f"the address {quoted(address)} is none", 'write "127.0.0.1:8441", or "unix:run/api.sock"')
    if tls is None and not is_loopback(host):
        hint = "add [listen.tls] with certificate and key, or listen on 127.0.0.1"
        _refuse(f"the address {quoted(address)} can be reached from elsewhere, and there is no TLS", hint)


def _ask(table: Mapping[str, Any]) -> Ask:
    value = table.get("per_person_day", Ask().per_person_day)
    if value == "unlimited":
        return Ask(None)
    if type(value) is not int or value < 0:
        _refuse("'per_person_day' is no number from 0", 'or write "unlimited"')
    return Ask(value)


# --- upstreams, targets, issuers -----------------------------------------------------------------


def _upstreams(table: Mapping[str, Any], targets: tuple[TargetConfig, ...]) -> Iterator[UpstreamConfig]:
    seen = set[str]()
    for where, entry in _tables(table, "upstream", ("name", "url", "command", "ca", "credential", "also")):
        name = _name(entry, where, seen)
        if "command" in entry:
            if "url" in entry:
                _refuse(f"{where}it has both 'url' and 'command'", "leave one out")
            hint = "start it over HTTP, and name its url"
            _refuse(f"{where}'command', an upstream over stdio, is not built yet", hint)
        yield UpstreamConfig(
            name=name,
            url=_url(_text(entry, "url", where), where),
            ca=_reference(entry, "ca", where) if "ca" in entry else None,
            credential=_credential(entry["credential"], where, targets) if "credential" in entry else None,
            also=_also(entry, where),
        )


def _credential(entry: Any, where: str, targets: tuple[TargetConfig, ...]) -> LeaseCredential:
    if not isinstance(entry, Mapping):
        if isinstance(entry, str):
            _refuse(f"{where}'credential' is no lease: no secret stands in this file", _CREDENTIAL)
        _refuse(f"{where}'credential' is no table", _CREDENTIAL)
    only(entry, ("target", "grant", "as"), f"{where}credential")
    target, grant, presented = (_text(entry, key, f"{where}credential: ") for key in ("target", "grant", "as"))
    grants = {one.name: one.grants for one in targets}
    if target not in grants:
        _refuse(f"{where}credential: there is no target {quoted(target)}", nearest(target, grants))
    if grant not in grants[target]:
        _refuse(f"{where}credential: {target} has no grant {quoted(grant)}", nearest(grant, grants[target]))
    if presented != "bearer":
        _refuse(f"{where}credential: 'as' is {quoted(presented)}", 'as = "bearer"')
    return LeaseCredential(target, grant, presented)


_CREDENTIAL = 'credential = { target = "crm", grant = "reader", as = "bearer" }'
_TARGET = (
    "name", "provider", "admin", "owner", "quarantine", "max_life", "environment", "assurances", "holders", "grants",
)  # fmt: skip
_OF_POSTGRES = ("admin", "owner", "quarantine", "grants")
STATIC_GRANT = "value"  # what is leased of a static target: "github_token/value"
_STATIC: Mapping[str, Any] = {"admin": "", "owner": "", "quarantine": "", "grants": {STATIC_GRANT: ()}}


def _targets(table: Mapping[str, Any]) -> Iterator[TargetConfig]:
    seen = set[str]()
    for where, entry in _tables(table, "target", _TARGET):
        name, provider = _name(entry, where, seen), _text(entry, "provider", where)
        if provider not in CLASS_OF:
            _refuse(f"{where}the provider {quoted(provider)} is not built yet", 'provider = "postgres"')
        if provider == "static" and (of_others := [key for key in _OF_POSTGRES if key in entry]):
            _refuse(f"{where}{of_others[0]!r} says nothing of a static target", "taskbound target put NAME")
        life: dict[str, Any] = {}
        try:
            if (max_life := duration(entry, "max_life")) is not None:
                life["max_life"] = max_life
        except InvalidRequest as error:
            _refuse(f"{where}{error}", error.hint)
        for key, known in (("assurances", ASSURANCES), ("holders", KINDS)):
            if key in entry:
                life[key] = _texts(entry, key, where)
                for one in life[key]:
                    if one not in known:
                        _refuse(f"{where}{key!r} names {quoted(one)}", nearest(one, known))
        yield TargetConfig(
            name=name,
            provider=provider,
            # Of a static target it may be left out: then it is for agents of which none is known either (`nhi8`).
            environment=_text(entry, "environment", where) if provider != "static" or "environment" in entry else "",
            **(_of_postgres(entry, name, where) if provider == "postgres" else _STATIC),
            **life,
        )


def _of_postgres(entry: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    return {
        "admin": _reference(entry, "admin", where),
        "owner": _text(entry, "owner", where),
        "quarantine": _text(entry, "quarantine", where),
        "grants": _grants(entry, name, where),
    }


def _grants(entry: Mapping[str, Any], target: str, where: str) -> dict[str, tuple[str, ...]]:
    grants, hint = entry.get("grants"), f'write [target.grants.reader] and below it member_of = ["{target}_reader"]'
    if not isinstance(grants, Mapping) or not grants:
        _refuse(f"{where}{quoted(target)} has no grants, so nothing of it can be leased", hint)
    found = {}
    for name, table in grants.items():
        if not NAME.fullmatch(name) or not isinstance(table, Mapping):
            _refuse(f"{where}the grant {quoted(name)} is no table with a plain name", hint)
        only(table, ("member_of",), f"{where}grant {name}")
        if "member_of" not in table:
            _refuse(f"{where}the grant {quoted(name)} says no 'member_of', so it gives nothing", hint)
        found[name] = _texts(table, "member_of", f"{where}grant {name}: ")
    return found


def _issuers(table: Mapping[str, Any]) -> Iterator[IssuerConfig]:
    seen = set[str]()
    for where, entry in _tables(table, "issuer", ("url", "audience", "also")):
        url = _url(_text(entry, "url", where), where)
        if url in seen:
            _refuse(f"{where}{quoted(url)} is configured twice", "leave one out")
        seen.add(url)
        yield IssuerConfig(url, _text(entry, "audience", where), _also(entry, where))
