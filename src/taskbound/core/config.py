"""Configuration: what taskbound.toml says, as a frozen value with its defaults (INTERFACES 2).

Secrets are only ever referred to, `env:NAME` or `file:/path`. How a file is read, and what is refused in it,
is told in config_file.py.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from taskbound.core.catalogue import Target

PORTS = {"http": 80, "https": 443}
CLASS_OF = {"postgres": "cut now", "static": "standing"}  # of a provider's leases (INTERFACES 11, core.lease)

Origin = tuple[str, str, int]  # scheme, host, port


@dataclass(frozen=True, slots=True)
class Tls:
    """What listeners beyond this machine show, as references. Those on loopback speak plain HTTP all the same."""

    certificate: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """How much people are asked."""

    per_person_day: int | None = 3  # None: unlimited


@dataclass(frozen=True, slots=True)
class LeaseCredential:
    """A lease that the gateway itself takes and presents to an upstream, so that the agent never sees it."""

    target: str
    grant: str
    presented: str  # "bearer"


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One MCP server."""

    name: str
    url: str
    ca: str | None = None  # a reference
    credential: LeaseCredential | None = None
    also: tuple[str, ...] = ()  # further origins that count as configured


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """One system that leases are issued for."""

    name: str
    provider: str  # one of CLASS_OF
    admin: str  # a reference; of a static target it is "", as are the two below
    owner: str
    quarantine: str
    environment: str
    grants: Mapping[str, tuple[str, ...]]  # grant -> the stable roles that a lease becomes a member of
    max_life: timedelta = timedelta(minutes=15)
    assurances: tuple[str, ...] = ("unix", "handle")
    holders: tuple[str, ...] = ("agent", "service")

    def targets(self) -> dict[str, Target]:
        """Return the target's grants as policies see them, by "name/grant"."""
        return {
            f"{self.name}/{grant}": Target(
                name=self.name,
                grant=grant,
                environment=self.environment,
                revocation_class=CLASS_OF[self.provider],
                assurances=frozenset(self.assurances),
                holders=frozenset(self.holders),
                max_life=self.max_life,
                statements={"member_of": member_of} if member_of else {},
            )
            for grant, member_of in self.grants.items()
        }


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """Whose tokens are taken, and for which audience."""

    url: str
    audience: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a configuration says. The values here are the defaults, where there is one."""

    trust_domain: str
    checkpoints: str | None = None  # a path; None: the default second place
    sinks: tuple[str, ...] = ()  # paths of files that sealed events are written to
    servers: tuple[str, ...] = ()  # references to addresses of servers whose logins may be asked about, and ended
    max_staleness: timedelta = timedelta(seconds=2)
    api: tuple[str, ...] = ("unix:run/api.sock",)
    gateway: tuple[str, ...] = ("127.0.0.1:8441",)
    tls: Tls | None = None
    ask: Ask = field(default_factory=Ask)
    upstreams: tuple[UpstreamConfig, ...] = ()
    targets: tuple[TargetConfig, ...] = ()
    issuers: tuple[IssuerConfig, ...] = ()

    def origins(self) -> frozenset[Origin]:
        """Return every configured address: those of upstreams and issuers, and what stands in their `also`."""
        configured: tuple[UpstreamConfig | IssuerConfig, ...] = (*self.upstreams, *self.issuers)
        return frozenset(origin_of(url) for one in configured for url in (one.url, *one.also))


def origin_of(url: str) -> Origin:
    """Return the scheme, host and port of an address (RFC 6454 4). Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("it is no http or https address")
    return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
