"""Hosts of MCP servers: what a URL says, who runs the host, and what may be said without knowing the organisation."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from taskbound.posture.readers import words

# Suffixes under which anybody can register, of more than one label. The public suffix list is far longer; of a name
# that is missing here the domain comes out one label too short, so that two hosts look like one owner's.
_SUFFIXES = frozenset(
    [
        "co.uk",
        "org.uk",
        "ac.uk",
        "gov.uk",
        "com.au",
        "net.au",
        "org.au",
        "co.nz",
        "co.jp",
        "or.jp",
        "ne.jp",
        "co.kr",
        "com.br",
        "com.mx",
        "com.ar",
        "com.tr",
        "com.cn",
        "com.tw",
        "com.hk",
        "com.sg",
        "co.in",
        "co.za",
        "com.pl",
        "com.ua",
        "co.il",
        "com.my",
        "co.id",
        "github.io",
        "gitlab.io",
        "vercel.app",
        "netlify.app",
        "pages.dev",
        "workers.dev",
        "herokuapp.com",
        "azurewebsites.net",
        "azurecontainerapps.io",
        "run.app",
        "web.app",
        "appspot.com",
        "onrender.com",
        "fly.dev",
        "up.railway.app",
        "amazonaws.com",
        "cloudfront.net",
        "ngrok.io",
        "ngrok.app",
        "ngrok-free.app",
        "ngrok.dev",
        "trycloudflare.com",
        "hf.space",
        "replit.app",
        "smithery.ai",
    ]
)
# Domains whose owners publish MCP servers of their own product: they ask for OAuth when an agent connects, or are
# open on purpose (documentation), and what is sent there is a credential of that product.
VENDORS = frozenset(
    [
        "githubcopilot.com",
        "github.com",
        "gitlab.com",
        "notion.com",
        "notion.so",
        "linear.app",
        "sentry.dev",
        "sentry.io",
        "stripe.com",
        "atlassian.com",
        "asana.com",
        "supabase.com",
        "vercel.com",
        "cloudflare.com",
        "figma.com",
        "intercom.com",
        "paypal.com",
        "squareup.com",
        "context7.com",
        "deepwiki.com",
        "microsoft.com",
        "azure.com",
        "huggingface.co",
        "gitmcp.io",
        "zapier.com",
        "webflow.com",
        "wix.com",
        "canva.com",
        "monday.com",
        "hubspot.com",
        "neon.tech",
        "prisma.io",
        "exa.ai",
        "tavily.com",
        "astro.build",
        "grep.app",
        "slack.com",
        "box.com",
        "dropbox.com",
        "datadoghq.com",
        "datadoghq.eu",
        "posthog.com",
        "honeycomb.io",
        "firecrawl.dev",
        "apify.com",
        "jina.ai",
        "googleapis.com",
        "google.com",
        "google.dev",
        "api.aws",
        "buildkite.com",
        "render.com",
        "netlify.com",
        "plaid.com",
        "openai.com",
        "anthropic.com",
        "aws.com",
        "brightdata.com",
        "close.com",
        "globalping.dev",
        "granola.ai",
        "miro.com",
        "semgrep.ai",
        "docker.com",
        "instantdb.com",
        "needle.app",
        "mercadolibre.com",
        "pulumi.com",
        "sanity.io",
        "shopify.com",
        "twilio.com",
        "vanta.com",
        "terraform.io",
        "hashicorp.com",
        "grafana.com",
        "mastra.ai",
        "svelte.dev",
        "nuxt.com",
        "ui.shadcn.com",
        "langchain.com",
        "elastic.co",
        "mongodb.com",
        "clickhouse.com",
        "circleci.com",
        "browserbase.com",
        "pinecone.io",
        "newrelic.com",
        "salesforce.com",
        "airtable.com",
        "clickup.com",
        "todoist.com",
        "cloudinary.com",
        "javadocs.dev",
        "apollographql.com",
        "browserstack.com",
        "postman.com",
        "snyk.io",
        "sonarsource.com",
    ]
)
_PRIVATE = (".local", ".internal", ".lan", ".corp", ".intranet", ".home.arpa", ".svc", ".cluster.local", ".intra")
_NAMES_OF_HERE = ("localhost", "host.docker.internal", "host.containers.internal", "gateway.docker.internal")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL without what may be secret in it."""

    scheme: str
    host: str
    port: int | None
    secret_names: tuple[str, ...] = field(
        default=()
    )  # parameters (or "userinfo") with a literal that a name calls secret
    query: tuple[str, ...] = ()  # the names of all parameters

    @property
    def domain(self) -> str:
        return domain(self.host)

    @property
    def is_here(self) -> bool:
        """On this machine, or in the same network of containers: a name of one label."""
        host = self.host
        if host in _NAMES_OF_HERE or host.endswith(".localhost"):
            return True
        address = ip(host)
        return address.is_loopback or address.is_unspecified if address else "." not in host

    @property
    def is_private(self) -> bool:
        address = ip(self.host)
        return self.is_here or (address.is_private if address else self.host.endswith(_PRIVATE))

    @property
    def is_vendor(self) -> bool:
        return self.domain in VENDORS or self.host in VENDORS

    @property
    def looks_internal(self) -> bool:
        """No service for strangers is offered without TLS or on an odd port."""
        return self.is_private or self.scheme in ("http", "ws") or self.port not in (None, 443)


def ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def domain(host: str) -> str:
    """The part of a host name that somebody registered: mcp.acme.co.uk -> acme.co.uk; an address is itself."""
    if ip(host):
        return host
    labels = host.split(".")
    for size in (3, 2):
        if ".".join(labels[-size:]) in _SUFFIXES:
            return ".".join(labels[-size - 1 :])
    return ".".join(labels[-2:])


def address(text: str) -> Address | None:
    """What a URL says; None where it is no http(s) or ws(s) URL, or where its host stands elsewhere (`${HOST}`)."""
    try:
        parts = urlsplit(text[:4096].strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https", "ws", "wss") or not host or words.is_reference(host):
        return None
    if words.is_reference(parts.netloc.rpartition("@")[2]) or host.startswith("your-"):
        return None
    query = parse_qsl(parts.query)
    named = [name for name, value in query if words.is_secret_name(name) and is_literal(value)]
    if parts.password and is_literal(parts.password):
        named.append("userinfo")
    return Address(parts.scheme, host, port, tuple(named), tuple(name for name, _ in query))


def is_literal(value: str) -> bool:
    """Whether a value could be a credential written out: no reference, and not shorter than one may be."""
    return len(value) >= 12 and not words.is_reference(value)


def own_domains(addresses: Iterable[Address], repository: str) -> frozenset[str]:
    """Domains of whoever wrote the document, as far as it shows.

    Assumed: two hosts of one domain in one document are the writer's own, if the domain is no vendor's; so is a domain
    whose first label is a word of the repository's name, and the domain of a host that looks internal.
    """
    hosts: Mapping[str, set[str]] = {}
    known = list(addresses)
    hosts = {one.domain: {other.host for other in known if other.domain == one.domain} for one in known}
    named = {word for word in words.split(repository) if len(word) > 3}
    own = {
        one
        for one, of in hosts.items()
        if (len(of) > 1 and one not in VENDORS) or set(words.split(one.split(".")[0])) & named
    }
    return frozenset(own | {one.domain for one in known if one.looks_internal})
