"""Every code that a denied call can have, read out of the code, so that no list of them goes stale."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import taskbound
from taskbound.steps.explain import KINDS

SOURCE = Path(taskbound.__file__).parent
DECIDES = SOURCE / "core/call.py"  # what it says `InvalidRequest` to becomes a denial, with that code
PUT_TOGETHER = {"f'unknown_{kind}'": tuple(f"unknown_{kind}" for kind in KINDS.values())}


def denial_codes() -> set[str]:
    """Return the codes of `Deny("…", …)` and `Denied(…, code="…")`, and of what is put together."""
    files = [*(SOURCE / "core").rglob("*.py"), *(SOURCE / "steps").rglob("*.py"), SOURCE / "prove.py"]
    return {code for file in files for node in ast.walk(ast.parse(file.read_text())) for code in _codes(node, file)}


def _codes(node: ast.AST, file: Path) -> Iterator[str]:
    for value in _said(node, file):
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.JoinedStr):
            yield from PUT_TOGETHER[ast.unparse(value)]  # a new one is written down above


def _said(node: ast.AST, file: Path) -> Iterator[ast.expr]:
    if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.Name) and one.id == "Denied" for one in node.bases):
        yield from (p.value for p in node.body if isinstance(p, ast.Assign) and ast.unparse(p.targets[0]) == "code")
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in ("Deny", "Denied") or (name == "InvalidRequest" and file == DECIDES):
            yield from node.args[: name == "Deny"]
            yield from (one.value for one in node.keywords if one.arg == "code")
    elif isinstance(node, ast.IfExp) and file == DECIDES:  # `code = "…" if … else …`
        yield from (one for one in (node.body, node.orelse) if re.fullmatch(r"'[a-z]+(_[a-z]+)+'", ast.unparse(one)))
