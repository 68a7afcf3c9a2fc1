"""Leaks: credentials that lie in the open, each file and holder one finding, of a workflow each issuer; cloud keys in
pipelines."""

from collections.abc import Iterator, Mapping

from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, held_of, labels, listed, places_of
from taskbound.posture.sighting import Credential

# Where a URL with its password is more telling than that it lies there.
URL_SPOTS = frozenset({"compose", "k8s-workload", "config", "file"})
# Keys of clouds by the beginning of their kind. A Google API key is an application's and opens no cloud.
CLOUD = ("aws-", "azure-", "alibaba-", "digitalocean-", "gcp-service-account", "hetzner-", "scaleway-", "yandex-")
# How kinds begin that say nothing of an issuer.
NOBODYS = frozenset({"generic", "private", "jwt", "password", "basic", "bearer", "secret", "token", "api", "aws"})

# By the spot of a credential: the case of a literal that lies there.
LEAKS: Mapping[str, str] = {
    "mcp-env": "literal-secret-in-mcp-config",
    "mcp-argument": "secret-in-mcp-argument",
    "mcp-header": "bearer-in-mcp-header",
    "mcp-url": "secret-in-mcp-url",
    "agent-permission": "secret-in-agent-permission-list",
    "agent-instructions": "secret-in-agent-instructions",
    "transcript": "secret-in-transcript",
    "workflow": "literal-secret-in-workflow",
    "compose": "secret-in-compose-file",
    "k8s-secret": "k8s-secret-manifest-in-repository",
    "k8s-workload": "secret-in-workload-manifest",
    "terraform": "secret-in-terraform-default",
    "cloudformation": "secret-in-cloudformation",
    "image": "secret-in-image-build",
    "dotenv": "dotenv-committed",
    "dotenv-local": "dotenv-on-this-machine",
    "config": "secret-in-config-file",
    "notebook": "secret-in-notebook",
    "log": "secret-in-log",
    "history": "secret-in-shell-history",
    "git-history": "secret-in-git-history",
    "file": "secret-in-file",
}


def leaked(inventory: Inventory) -> Iterator[Draft]:
    """Yield literals. An identifier alone opens nothing; beside its secret it is one more place."""
    groups = grouped(inventory.credentials, lambda one: (_case(one), one.place.path, one.holder.name, _issuer(one)))
    ids = grouped(
        (one for one in inventory.credentials if one.is_identifier), lambda one: (one.place.path, one.holder.name)
    )
    for (case, path, holder, issuer), group in groups.items():
        secrets = [one for one in group if not one.is_identifier]
        if not secrets:
            continue
        beside = ids.get((path, holder), []) if any("aws" in one.kind for one in secrets) else []
        first = secrets[0]
        many = f"{len(secrets)} credentials lie" if len(secrets) > 1 else "A credential lies"
        says = f"{many} in the open in {path}: {listed(labels(secrets))}, held by {holder}."
        if case == "secret-in-git-history":
            says = f"{many} in {path}: {listed(labels(secrets))}, removed from the files, still in the history."
        yield Draft(
            case,
            labels(secrets),
            says,
            (*places_of(secrets), *places_of(beside)),
            owner=_owner(inventory, first),
            name=first.login if first.kind == "gcp-service-account-key" else first.name,
            kind=first.kind if len({one.kind for one in secrets}) == 1 else "",
            holder=holder,
            repository=first.holder.repository,
            key=f"{issuer} {holder}".strip(),
            holds=held_of(secrets),
        )


def static_cloud_keys(inventory: Inventory) -> Iterator[Draft]:
    """Yield cloud keys in pipelines. The identifier is enough: the secret then comes from the pipeline's store."""
    case = "static-cloud-key-in-pipeline"
    found = [one for one in inventory.credentials if one.holder.kind == "pipeline" and _is_cloud(one)]
    told = grouped((one for one in inventory.weaknesses if one.case == case), lambda one: (one.place.path, one.subject))
    for (path, holder), group in grouped(found, lambda one: (one.place.path, one.holder.name)).items():
        same = told.pop((path, holder), [])
        places = (*places_of(group), *(place for one in same for place in (one.place, *one.more)))
        says = f"{holder} signs in to a cloud with a key that never ends ({listed(labels(group))}), written in {path}."
        yield Draft(
            case,
            (holder, *labels(group)),
            says,
            places,
            holder=holder,
            repository=group[0].holder.repository,
            key=holder,
            holds=held_of(group),
        )
    for (_, holder), weaknesses in told.items():
        places = tuple(place for one in weaknesses for place in (one.place, *one.more))
        yield Draft(case, (holder,), weaknesses[0].says, places, holder=holder, key=holder)


def _case(one: Credential) -> str:
    if one.target and one.spot in URL_SPOTS:
        return "password-in-connection-url"
    return LEAKS.get(one.spot, "secret-in-file")


def _issuer(one: Credential) -> str:
    """Return whose a workflow's credential is, by its kind: each is for something else, and made anew elsewhere."""
    issuer = one.kind.partition("-")[0]
    return issuer if one.spot == "workflow" and issuer not in NOBODYS and not one.is_identifier else ""


def _is_cloud(one: Credential) -> bool:
    return one.kind.startswith(CLOUD)


def _owner(inventory: Inventory, one: Credential) -> str:
    key = inventory.key_of_mark(one)
    return inventory.owner(key.id) if key else ""
