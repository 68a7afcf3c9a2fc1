"""The configuration is read whole or refused, with the file, the line and what to write instead (INTERFACES 2)."""

from datetime import timedelta

import pytest

from taskbound.core.catalogue import Target
from taskbound.core.config import Ask, Config, LeaseCredential, Tls, origin_of
from taskbound.core.config_file import read_config
from taskbound.core.errors import InvalidRequest

WHOLE = """trust_domain = "example.org"
checkpoints = "file:/mnt/other/taskbound"
max_staleness = "5s"
[listen]
api = ["unix:run/api.sock", "127.0.0.1:8440"]
gateway = "0.0.0.0:8441"
[listen.tls]
certificate = "file:/etc/tls/cert"
key = "env:TLS_KEY"
client_ca = "file:/etc/tls/ca"
[ask]
per_person_day = "unlimited"
[[upstream]]
name = "workspace"
url = "http://127.0.0.1:9000/mcp"
ca = "file:/etc/tls/ca"
credential = { target = "shopdb", grant = "reader", as = "bearer" }
[[upstream]]
name = "mail"
url = "https://mail.example/mcp"
also = ["https://auth.mail.example:8443"]
[[target]]
name = "shopdb"
provider = "postgres"
admin = "env:SHOPDB_ADMIN"
owner = "shop_owner"
quarantine = "shop_quarantine"
max_life = "1h"
environment = "production"
assurances = ["unix"]
holders = ["service"]
[target.grants.reader]
member_of = ["shop_reader"]
[target.grants.writer]
member_of = ["shop_reader", "shop_writer"]
[[issuer]]
url = "https://issuer.example"
audience = "taskbound"
also = ["https://keys.issuer.example"]
"""


def read(text: str, hostname: str = "box") -> Config:
    return read_config(text, "/etc/taskbound.toml", hostname=hostname)


def test_an_empty_file_is_the_defaults():
    config = read("")
    assert config == Config(trust_domain="box.local")
    assert (config.checkpoints, config.sinks, config.max_staleness) == (None, (), timedelta(seconds=2))
    assert (config.api, config.gateway, config.tls) == (("unix:run/api.sock",), ("127.0.0.1:8441",), None)
    assert (config.ask, config.upstreams, config.targets, config.issuers) == (Ask(3), (), (), ())
    assert config.origins() == frozenset()


def test_every_key_is_read():
    config = read(WHOLE)
    assert (config.trust_domain, config.checkpoints) == ("example.org", "/mnt/other/taskbound")
    assert config.max_staleness == timedelta(seconds=5)
    assert (config.api, config.gateway) == (("unix:run/api.sock", "127.0.0.1:8440"), ("0.0.0.0:8441",))
    assert config.tls == Tls("file:/etc/tls/cert", "env:TLS_KEY", "file:/etc/tls/ca")
    assert config.ask == Ask(None)
    workspace, mail = config.upstreams
    assert (workspace.name, workspace.url, workspace.ca) == (
        "workspace",
        "http://127.0.0.1:9000/mcp",
        "file:/etc/tls/ca",
    )
    assert (workspace.credential, mail.credential) == (LeaseCredential("shopdb", "reader", "bearer"), None)
    (shopdb,) = config.targets
    assert (shopdb.provider, shopdb.admin, shopdb.owner) == ("postgres", "env:SHOPDB_ADMIN", "shop_owner")
    assert shopdb.quarantine == "shop_quarantine"
    assert shopdb.targets()["shopdb/writer"] == Target(
        name="shopdb",
        grant="writer",
        environment="production",
        revocation_class="cut now",
        assurances=frozenset({"unix"}),
        holders=frozenset({"service"}),
        max_life=timedelta(hours=1),
        statements={"member_of": ("shop_reader", "shop_writer")},
    )
    assert list(shopdb.targets()) == ["shopdb/reader", "shopdb/writer"]
    assert config.origins() == {
        ("http", "127.0.0.1", 9000),
        ("https", "mail.example", 443),
        ("https", "auth.mail.example", 8443),
        ("https", "issuer.example", 443),
        ("https", "keys.issuer.example", 443),
    }


def test_a_static_target_has_one_value_and_is_standing():
    text = '[[target]]\nname = "github"\nprovider = "static"\n'
    (github,) = read(text).targets
    assert (github.admin, github.owner, github.quarantine, github.environment) == ("", "", "", "")
    target = github.targets()["github/value"]
    assert (target.revocation_class, target.statements) == ("standing", {})
    (github,) = read(text + 'environment = "dev"\nmax_life = "1h"\nholders = ["service"]\n').targets
    assert (github.environment, github.max_life, github.holders) == ("dev", timedelta(hours=1), ("service",))


@pytest.mark.parametrize("more", ['admin = "env:A"', 'owner = "o"', 'quarantine = "q"', "[target.grants.a]"])
def test_a_static_target_makes_nothing_so_that_nothing_is_said_of_it(more):
    with pytest.raises(InvalidRequest, match="says nothing of a static target"):
        read(f'[[target]]\nname = "github"\nprovider = "static"\n{more}\n')


def test_a_target_has_defaults():
    text = WHOLE.replace('max_life = "1h"\n', "").replace('assurances = ["unix"]\n', "")
    (shopdb,) = read(text.replace('holders = ["service"]\n', "")).targets
    assert shopdb.max_life == timedelta(minutes=15)
    assert (shopdb.assurances, shopdb.holders) == (("unix", "handle"), ("agent", "service"))


@pytest.mark.parametrize(
    ("hostname", "domain"), [("box", "box.local"), ("My Büro!", "my-b-ro-.local"), ("", "localhost.local")]
)
def test_without_a_trust_domain_the_host_names_it(hostname, domain):
    assert read("", hostname).trust_domain == domain


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8441", "127.9.9.9:0", "[::1]:8441", "localhost:8441"],
)
def test_a_loopback_listener_needs_no_tls(address):
    assert read(f'[listen]\ngateway = "{address}"\napi = "{address}"').api == (address,)


def test_both_may_listen_here_and_beyond():
    tls = '[listen.tls]\ncertificate = "file:/c"\nkey = "file:/k"\n'
    config = read(f'[listen]\ngateway = ["127.0.0.1:1", "0.0.0.0:2"]\napi = ["unix:x", "[::]:3"]\n{tls}')
    assert (config.gateway, config.api) == (("127.0.0.1:1", "0.0.0.0:2"), ("unix:x", "[::]:3"))


@pytest.mark.parametrize("address", ["0.0.0.0:8441", "[::]:8441", "192.0.2.1:8441", "[2001:db8::1]:1", "box:8441"])
@pytest.mark.parametrize("key", ["gateway", "api"])
def test_a_listener_that_others_reach_needs_tls(address, key):
    with pytest.raises(InvalidRequest, match="can be reached from elsewhere, and there is no TLS") as refused:
        read(f'[listen]\n{key} = "{address}"')
    assert "[listen.tls]" in refused.value.hint
    tls = '[listen.tls]\ncertificate = "file:/c"\nkey = "file:/k"'
    assert read(f'[listen]\n{key} = "{address}"\n{tls}').tls == Tls("file:/c", "file:/k")


def changed(old: str, new: str) -> str:
    assert old in WHOLE, old
    return WHOLE.replace(old, new, 1)


UPSTREAM = '[[upstream]]\nname = "workspace"\n'
URL = 'url = "https://mail.example/mcp"'
# text, where the message begins, what it says, what the hint says
REFUSED = {
    "no TOML":               ("trust_domain = x", "line 1: it is no TOML", ""),
    "a key twice":           ('max_staleness = "1s"\nmax_staleness = "2s"', "it is no TOML", "overwrite"),
    "no day":                ("a = 2026-02-30", "line 1: it is no TOML", "date"),
    "unknown key":           (changed("max_staleness", "max_stalenes"),
                              "line 3: configuration: unknown key 'max_stalenes'", "'max_staleness'"),
    "unknown table":         (changed("[[upstream]]", "[[upstreams]]"),
                              "line 13: configuration: unknown key 'upstreams'", "'upstream'"),
    "unknown in listen":     (changed("gateway =", "gatway ="), "line 6: listen: unknown key 'gatway'", "'gateway'"),
    "unknown in tls":        (changed("client_ca", "clientca"),
                              "line 10: listen.tls: unknown key 'clientca'", "'client_ca'"),
    "unknown in ask":        (changed("per_person_day", "per_person"), "line 12: ask: unknown key", "'per_person_day'"),
    "unknown in upstream":   (changed("also = [\"https://auth", "als = [\"https://auth"),
                              "line 21: upstream 2: unknown key 'als'", "'also'"),
    "unknown in target":     (changed("quarantine =", "quarantaine ="),
                              "line 27: target 1: unknown key 'quarantaine'", "'quarantine'"),
    "unknown in grant":      (changed("member_of", "members"),
                              "line 33: target 1: grant reader: unknown key 'members'", "'member_of'"),
    "unknown in issuer":     (changed("audience", "aud"), "line 38: issuer 1: unknown key 'aud'", "audience"),
    "unknown in credential": (changed("as =", "is ="), "line 17: upstream 1: credential: unknown key 'is'", "as,"),
    "trust domain":          (changed('"example.org"', '"Example org"'), "line 1: 'trust_domain'", ""),
    "no text":               (changed('"example.org"', "5"), "line 1: 'trust_domain' is missing, or no text", ""),
    "checkpoints":           (changed('"file:/mnt', '"/mnt'), "line 2: 'checkpoints' is no directory", "file:/"),
    "sink":                  (changed('max_staleness = "5s"', 'sinks = "https://siem"'),
                              "line 3: 'sinks': 'https", "file:/"),
    "server":                (changed('max_staleness = "5s"', 'servers = ["redis://a:word@b"]'),
                              "line 3: 'servers' holds no reference", "env:REDIS_ADMIN"),
    "sink relative":         (changed('max_staleness = "5s"', 'sinks = "file:events"'),
                              "line 3: 'sinks': 'file:", "file:/"),
    "checkpoints relative":  (changed('"file:/mnt', '"file:mnt'), "line 2: 'checkpoints' is no directory", "file:/"),
    "no duration":           (changed('"5s"', '"5 seconds"'), "line 3: 'max_staleness' is no duration", '"10m"'),
    "a number of seconds":   (changed('"5s"', "5"), "line 3: 'max_staleness' is no duration", ""),
    "no time at all":        (changed('"5s"', '"0s"'), "line 3: 'max_staleness' is no duration", ""),
    "listen is a text":      ('listen = "127.0.0.1:1"', "line 1: 'listen' is no table", "[listen]"),
    "no listener":           (changed('["unix:run/api.sock", "127.0.0.1:8440"]', "[]"), "line 5: 'api' is no list", ""),
    "a listener twice":      (changed("127.0.0.1:8440", "unix:run/api.sock"), "line 5: 'api' names one twice", ""),
    "no port":               (changed("127.0.0.1:8440", "127.0.0.1"), "line 5: the address '127.0.0.1' is none", ""),
    "no such port":          (changed(":8440", ":70000"), "line 5: the address '127.0.0.1:70000' is none", ""),
    "every host":            (changed("127.0.0.1:8440", ":8440"), "line 5: the address ':8440' is none", ""),
    "IPv6 without brackets": (changed("127.0.0.1:8440", "::1:8440"), "line 5: the address '::1:8440' is none", ""),
    "no socket":             (changed("unix:run/api.sock", "unix:"), "line 5: the address 'unix:' names no", "run/api"),
    "gateway on a socket":   (changed("0.0.0.0:8441", "unix:x"), "line 6: 'gateway' is a socket", "127.0.0.1"),
    "TLS without its key":   (changed('key = "env:TLS_KEY"\n', ""), "listen.tls: 'key' is missing", ""),
    "asked too rarely":      (changed('"unlimited"', "-1"), "line 12: 'per_person_day' is no number", "unlimited"),
    "asked true times":      (changed('"unlimited"', "true"), "line 12: 'per_person_day' is no number", "unlimited"),
    "upstream is a table":   ('[upstream]\nname = "x"', "line 1: 'upstream' is no list of tables", "[[upstream]]"),
    "upstream without url":  (changed(URL + "\n", ""), "line 18: upstream 2: 'url' is missing", ""),
    "no http":               (changed("https://mail", "ftp://mail"), "line 20: upstream 2: 'url' is no http", ""),
    "no host":               (changed(URL, 'url = "https://"'), "line 20: upstream 2: 'url' is no http", ""),
    "no number of a port":   (changed(URL, 'url = "https://a:b/"'), "line 20: upstream 2: 'url' is no http", ""),
    "a port too high":       (changed(URL, 'url = "http://a:90000/"'), "line 20: upstream 2: 'url' is no http",
                              "a port up to 65535"),
    "also is no address":    (changed("https://auth.mail", "auth.mail"), "line 21: upstream 2: 'also' is no http", ""),
    "a fragment":            (changed("/mcp\"\nalso", "/mcp#x\"\nalso"), "line 20: upstream 2: 'url' has a frag", ""),
    "upstream's name":       (changed('"mail"', '"Mail"'), "line 19: upstream 2: the name 'Mail'", ""),
    "upstream's name long":  (changed('"mail"', f'"{"m" * 65}"'), "line 18: upstream 2: the name", ""),
    "two upstreams alike":   (changed('"mail"', '"workspace"'),
                              "line 19: upstream 2: 'workspace' is configured twice", ""),
    "stdio":                 (changed(URL, 'command = ["node", "server.js"]'),
                              "line 20: upstream 2: 'command', an upstream over stdio, is not built yet", "HTTP"),
    "url and command":       (changed(URL, URL + '\ncommand = ["node"]'),
                              "line 20: upstream 2: it has both 'url' and 'command'", ""),
    "unknown target":        (changed('target = "shopdb"', 'target = "shopdv"'),
                              "line 17: upstream 1: credential: there is no target 'shopdv'", "'shopdb'"),
    "unknown grant":         (changed('grant = "reader"', 'grant = "raeder"'),
                              "line 17: upstream 1: credential: shopdb has no grant 'raeder'", "'reader'"),
    "presented otherwise":   (changed('"bearer"', '"basic"'), "line 17: upstream 1: credential: 'as' is 'basic'", ""),
    "another provider":      (changed('"postgres"', '"mysql"'),
                              "line 24: target 1: the provider 'mysql' is not built yet", "postgres"),
    "target's name":         (changed('name = "shopdb"', 'name = "shop/db"'), "line 23: target 1: the name", ""),
    "two targets alike":     (WHOLE + WHOLE[WHOLE.index("[[target]]"):WHOLE.index("[[issuer]]")],
                              "line 41: target 2: 'shopdb' is configured twice", ""),
    "no admin":              (changed('admin = "env:SHOPDB_ADMIN"\n', ""), "line 22: target 1: 'admin' is missing", ""),
    "no owner":              (changed('owner = "shop_owner"\n', ""), "line 22: target 1: 'owner' is missing", ""),
    "no environment":        (changed('environment = "production"\n', ""), "line 22: target 1: 'environment' is", ""),
    "a target's life":       (changed('"1h"', '"1 h"'), "line 28: target 1: 'max_life' is no duration", ""),
    "unknown assurance":     (changed('["unix"]', '["unixx"]'), "line 30: target 1: 'assurances' names 'unixx'", ""),
    "unknown holder":        (changed('["service"]', '["robot"]'), "line 31: target 1: 'holders' names 'robot'", ""),
    "nobody holds it":       (changed('["service"]', "[]"), "line 31: target 1: 'holders' is no list", ""),
    "no grants":             (WHOLE[: WHOLE.index("[target.grants.reader]")].replace('grant = "reader"', 'grant = "x"'),
                              "line 23: target 1: 'shopdb' has no grants", "[target.grants.reader]"),
    "a grant of nothing":    (changed('member_of = ["shop_reader"]\n', ""),
                              "line 32: target 1: the grant 'reader' says no 'member_of'", "member_of"),
    "a grant of no roles":   (changed('member_of = ["shop_reader"]\n', "member_of = []\n"),
                              "line 33: target 1: grant reader: 'member_of' is no list", ""),
    "a grant's name":        (changed("grants.reader", 'grants."a b"'), "line 32: target 1: the grant 'a b'", ""),
    "no audience":           (changed('audience = "taskbound"\n', ""), "line 36: issuer 1: 'audience' is missing", ""),
    "two issuers alike":     (WHOLE + WHOLE[WHOLE.index("[[issuer]]"):],
                              "line 41: issuer 2: 'https://issuer.example' is configured twice", ""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_and_says_where(text, says, hint):
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    error = refused.value
    assert error.code == "invalid_config"
    place, _, _ = says.partition(": ") if says.startswith("line") else ("", "", "")
    begins = f"/etc/taskbound.toml {says}" if place else f"/etc/taskbound.toml: {says}"
    assert str(error).startswith(begins) and hint in error.hint, (str(error), error.hint)


LITERAL = "hunter2-the-literal"
SECRETS = {
    "admin":       changed("env:SHOPDB_ADMIN", f"postgresql://admin:{LITERAL}@db/shop"),
    "admin's env": changed("env:SHOPDB_ADMIN", f"env:{LITERAL}"),
    "relative":    changed("env:SHOPDB_ADMIN", f"file:{LITERAL}"),
    "key":         changed("env:TLS_KEY", LITERAL),
    "certificate": changed("file:/etc/tls/cert", LITERAL),
    "ca":          changed("file:/etc/tls/ca", LITERAL),
    "credential":  changed('{ target = "shopdb", grant = "reader", as = "bearer" }', f'"{LITERAL}"'),
    "in a url":    changed("https://mail.example", f"https://me:{LITERAL}@mail.example"),
    "in an also":  changed("https://auth.mail.example", f"https://{LITERAL}@auth.mail.example"),
}  # fmt: skip


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_literal_secret_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert refused.value.code == "invalid_config"
    assert LITERAL not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example/x", ("https", "a.example", 443)),
        ("http://a.example", ("http", "a.example", 80)),
        ("http://[::1]:9000/mcp", ("http", "::1", 9000)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin
