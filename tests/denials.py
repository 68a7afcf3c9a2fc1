"""Every code that a denied call can have, read out of the code, so that no list of them goes stale."""

import ast
from collections.abc import Iterator
from pathlib import Path

import taskbound

SOURCE = Path(taskbound.__file__).parent
DENIES = ("Deny", "Denied")


def denial_codes() -> set[str]:
    """Return the codes of `Deny("…", …)` and `Denied(…, code="…")`, and of what is put together."""
    texts = [path.read_text() for part in ("core", "steps", "prove.py") for path in _files(SOURCE / part)]
    found = {code for text in texts for node in ast.walk(ast.parse(text)) for code in _code(node)}
    return found | {"approval_required", "unknown_tool", "unknown_lease", "unknown_profile", "invalid_argument"}


def _files(path: Path) -> Iterator[Path]:
    yield from path.rglob("*.py") if path.is_dir() else [path]


def _code(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.Name) and one.id == "Denied" for one in node.bases):
        given = [
            part.value for part in node.body if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "code"
        ]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DENIES:
        given = [*node.args[: node.func.id == "Deny"], *(one.value for one in node.keywords if one.arg == "code")]
    else:
        return
    yield from (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))
