"""The programs that the documentation prints: each is run as it stands there, but for the tool that is called."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.stories.place import upstream
from tests.stories.test_off_host import ISSUER, configured, place, workspace  # noqa: F401

DOCS = Path(__file__).parent.parent.parent / "docs"


def program(page: str) -> str:
    """Return the one program that a page prints."""
    (text,) = re.findall(r"(?s)```python\n(.*?)```", (DOCS / page).read_text())
    return str(text)


def begun(place) -> None:  # noqa: F811
    place.done("tools", "derive", "workspace", "--write")
    tools = place.state / "policy/tools/workspace.toml"
    tools.write_text(re.sub(r'(?s)(\[echo\].*?effect = )"\w+"', r'\1"read"', tools.read_text()))  # as a person says
    place.done("policy", "load")


def test_the_program_of_the_sdk_page_calls_a_tool_inside_of_run(place, workspace):  # noqa: F811
    made, address = workspace
    (place.state / "taskbound.toml").write_text(upstream(f"{address}/mcp"))
    place.done("policy", "init")
    text = program("sdk.md").replace('"workspace/search", {"query": "order 4711"}', '"workspace/echo", {"text": "hi"}')
    with place.up():
        begun(place)
        said = place.done("run", "--intent", "echo", "--agent", "echo", "--", sys.executable, "-c", text)
    assert made.ran == [("echo", "hi")] and "'text': 'hi'" in said


def test_the_client_of_the_page_on_other_machines_joins_calls_and_ends(place, workspace):  # noqa: F811
    made, address = workspace
    configured(place, address)
    place.done("policy", "init")
    text = program("elsewhere.md").replace(
        '{"name": "search", "arguments": {"query": "4711"}}', '{"name": "echo", "arguments": {"text": "far"}}'
    )
    authority = place.state.parent / "authority.pem"
    authority.write_text(ISSUER.pem)
    with place.up() as about:
        begun(place)
        place.done("identity", "register", "agent/remote", "--owner", about["operator"], "--attestor", "join_token")
        token = place.done("identity", "join", "agent/remote")
        api = next(one for one in about["api"] if one.startswith("https://"))
        done = subprocess.run(
            [sys.executable, "-c", text, api], input=token, text=True, capture_output=True, timeout=60,
            env={**os.environ, "SSL_CERT_FILE": str(authority), "NO_PROXY": "*", "no_proxy": "*"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["content"][0]["text"] == "far" and made.ran == [("echo", "far")]
        states = place.done("task", "list", "--json")
    assert {task["state"] for task in json.loads(states)["tasks"]} <= {"ended", "closed"}
