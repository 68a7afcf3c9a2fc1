"""docs/reference.md, made from the code: events, routes, codes, configuration, commands. Prints the page.

.venv/bin/python -m tests.reference > docs/reference.md
"""

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import taskbound
from taskbound.cli import COMMANDS
from taskbound.core import config, errors
from taskbound.core.event import Kind
from taskbound.edge import api, oauth
from taskbound.edge.api.fields import TYPES
from taskbound.edge.claims import Rule
from taskbound.store.rows import TABLES

PAGE = Path(__file__).parent.parent / "docs/reference.md"
SOURCE = Path(taskbound.__file__).parent
HEAD = """\
# Reference

Made from the code by `python -m tests.reference`; a test fails when this page is stale.
"""
WHO = {
    Rule.PUBLIC: "anybody",
    Rule.LOCAL: "anybody on this machine",
    Rule.OPERATOR: "a process on the Unix socket",
    Rule.HANDLE: "a task handle",
    Rule.TOKEN: "a task token with its key",
    Rule.JOIN: "a join token",
}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def events() -> Iterator[tuple[str, ...]]:
    """Yield each kind of event, and the states that it leads from and to."""
    moves = defaultdict[Kind, list[str]](list)
    for noun in TABLES:
        for state, facts in noun.LIFECYCLE.items():
            for kind, becomes in facts.items():
                moves[kind].append(f"{state or '(nothing)'} → {becomes}")
    for kind in Kind:
        yield f"`{kind.value}`", ", ".join(moves[kind])


def _texts() -> list[tuple[str, str]]:
    return [(path.relative_to(SOURCE).as_posix(), path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]


def routes() -> Iterator[tuple[str, ...]]:
    on_gateway = {(route.method, route.path) for route in (*api.GATEWAY_ROUTES, *oauth.ROUTES)}
    for route in (*api.ROUTES, *oauth.ROUTES):
        who = ", ".join(what for rule, what in WHO.items() if rule in route.rule)
        where = "API and gateway" if (route.method, route.path) in on_gateway else "API"
        yield f"`{route.method} {route.path}`", who, where


def members() -> Iterator[str]:
    """Yield a table for each route that takes something: of its body, or of a GET in its query."""
    for route in api.ROUTES:
        if route.takes:
            rows: list[tuple[str, ...]] = [
                (f"`{name}`", TYPES[one.read], "yes" if one.required else "", one.means)
                for name, one in route.takes.items()
            ]
            yield f"\n### `{route.method} {route.path}`\n"
            yield table(("Parameter" if route.method == "GET" else "Member", "Type", "Required", "Meaning"), rows)


def codes() -> Iterator[tuple[str, ...]]:
    """Yield each code of an answer, its status where a class of errors fixes it, and the modules that know it."""
    for module in walk_packages(taskbound.__path__, "taskbound."):  # what nobody imported has no class yet
        import_module(module.name)
    statuses = {one.code: str(one.status) for one in _classes(errors.TaskboundError)}
    said = defaultdict[str, set[str]](set)
    for path, text in _texts():
        for node in ast.walk(ast.parse(text)):
            for code in _codes_in(node):
                said[code].add(path)
    for code in sorted(said.keys() | statuses.keys()):
        if code.isidentifier() and code != "None":
            yield f"`{code}`", statuses.get(code, ""), ", ".join(f"`{path}`" for path in sorted(said[code]))


def _codes_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from (
            one.value.value
            for one in node.keywords
            if one.arg == "code" and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        )
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("Deny", "Ask") and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)
    if isinstance(node, ast.Match) and ast.unparse(node.subject).endswith(".code"):  # some are put together
        patterns = (one for case in node.cases for one in ast.walk(case.pattern) if isinstance(one, ast.MatchValue))
        yield from (str(one.value.value) for one in patterns if isinstance(one.value, ast.Constant))
    if isinstance(node, ast.Assign):  # code, hint = "…", …; and PROOF_CODE = "…"
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            given = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for variable, value in zip(names, given, strict=False):
                is_code = isinstance(variable, ast.Name) and variable.id.split("_")[-1].lower() == "code"
                if is_code and isinstance(value, ast.Constant):
                    yield str(value.value)
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "code":
                yield from (str(one.value) for one in ast.walk(part) if isinstance(one, ast.Constant))


def _classes(root: type[Any]) -> Iterator[type[Any]]:
    yield root
    for one in root.__subclasses__():
        yield from _classes(one)


def settings() -> Iterator[tuple[str, ...]]:
    """Yield each value of the configuration, by the dataclass that it is read into."""
    for noun in (config.Config, config.Tls, config.Ask, config.UpstreamConfig, config.LeaseCredential,
                 config.TargetConfig, config.IssuerConfig):  # fmt: skip
        assert is_dataclass(noun)
        kinds = inspect.get_annotations(noun)
        for field in fields(noun):
            default = "" if field.default is MISSING and field.default_factory is MISSING else _default(field)
            kind = kinds[field.name]
            shown = str(getattr(kind, "__name__", kind)).replace("taskbound.core.config.", "")
            yield f"`{noun.__name__}.{field.name}`", f"`{shown}`", default


def _default(field: Any) -> str:
    value = field.default if field.default is not MISSING else field.default_factory()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    if is_dataclass(value):
        return ""
    return f"`{list(value) if isinstance(value, tuple) else value!r}`"


def page() -> str:
    return "\n".join([
        HEAD,
        "## Commands\n",
        table(("Command", "What it does"), [(f"`taskbound {name}`", does) for name, does in COMMANDS.items()]),
        "\n## Routes\n",
        "What a caller is then permitted is decided by policy.\n",
        table(("Route", "Who may knock", "Listener"), list(routes())),
        "\n## What a route takes\n",
        "Members of a JSON body; of a GET, parameters of its query. Others are refused.",
        *members(),
        "\n## Events\n",
        "The whole catalogue; what later parts record stands in it already.\n",
        table(("Kind", "Leads a thing"), list(events())),
        "\n## Codes of refusals\n",
        table(("Code", "Status", "Known in"), list(codes())),
        "\n## Configuration\n",
        "As values; [configuration.md](configuration.md) shows them in a file.\n",
        table(("Value", "Type", "Default"), list(settings())),
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
