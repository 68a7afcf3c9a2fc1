"""The environment of an agent: an allow-list, what the task brings along, and nothing else that stands (INTERFACES 10).

Pure. What is not listed here is not inherited, whatever its name: a key in a variable that nobody
thought of stays outside. `--keep VAR` is the only exception, and it is said aloud.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

ALLOWED = frozenset({"PATH", "HOME", "LANG", "TERM", "TZ", "USER", "SHELL", "PWD", "TMPDIR"})
PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy"})  # upper case too
LOCAL = ("127.0.0.1", "localhost", "::1")  # our gateway is there: no proxy may see what goes to it


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """One lease as the child finds it: `name` is its target, or `<target>_<grant>` for a second one of a target."""

    name: str
    path: str

    @property
    def variable(self) -> str:
        return f"TASKBOUND_LEASE_{re.sub(r'[^A-Za-z0-9]', '_', self.name).upper()}_FILE"


def inherited(
    outside: Mapping[str, str], keep: Sequence[str] = (), is_reference: Callable[[str], bool] = lambda _: False
) -> dict[str, str]:
    """Return what of the environment outside an agent gets: the allow-list, and the variables named in `keep`.

    What is a reference and nothing else comes along too: it holds no value, and leads to what the task has anyway.
    """
    inside = {
        name: value
        for name, value in outside.items()
        if _is_allowed(name, value) or name in keep or is_reference(value)
    }
    exceptions = [word for word in re.split(r"[,\s]+", outside.get("no_proxy") or outside.get("NO_PROXY", "")) if word]
    exceptions += [host for host in LOCAL if host not in exceptions]
    # Programs read one of the two, and not all the same: where the lower one is set, it wins nearly everywhere.
    for name in ("NO_PROXY", *(["no_proxy"] if "no_proxy" in outside else [])):
        inside[name] = ",".join(exceptions)
    return inside


def _is_allowed(name: str, value: str) -> bool:
    if name.lower() in PROXIES:
        return not _has_userinfo(value)
    return name in ALLOWED or name.startswith("LC_")


def _has_userinfo(proxy: str) -> bool:
    # Whatever is written before an @ may be a password, also where the URL is none.
    try:
        return "@" in proxy or urlsplit(proxy).username is not None
    except ValueError:
        return True


def brought(
    task: str, gateway: str, config: str, leases: Sequence[LeaseFile], services: str | None, service: str | None
) -> dict[str, str]:
    """Return the variables that the task brings: where its gateway is and where its files are, never a secret."""
    address = urlsplit(gateway)
    url = f"{address.scheme}://{address.netloc}"
    return {
        "TASKBOUND_TASK": task,
        "TASKBOUND_URL": url,
        "TASKBOUND_MCP_URL": f"{url}/mcp",
        "TASKBOUND_MCP_CONFIG": config,
        **{lease.variable: lease.path for lease in leases},
        **({"PGSERVICEFILE": services, "PGSERVICE": service} if services and service else {}),
    }


def withheld(outside: Mapping[str, str], keep: Sequence[str]) -> Iterator[str]:
    """Yield the proxies that an agent does not get because a password may stand in them."""
    for name, value in sorted(outside.items()):
        if name.lower() in PROXIES and name not in keep and _has_userinfo(value):
            yield name
