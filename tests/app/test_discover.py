"""What is known of a folder stays known in each copy of it, and nothing that comes to it does."""

import json
import subprocess
from datetime import date
from pathlib import Path

from taskbound.app.discover import Discovery, discover
from taskbound.posture.standing import render_baseline

STRIPE = "sk_live_" + "51Hq7zKLw2eZvKYlo2C0" * 2
GITLAB = "glpat-" + "x7Kq2mWz9RtYb4NcVd3F"


def test_a_baseline_knows_another_checkout_and_no_key_that_was_added(tmp_path: Path) -> None:
    at = [tmp_path / "shop", tmp_path / "a.copy"]
    for folder in at:
        folder.mkdir()
        (folder / ".env").write_text(f"STRIPE_KEY={STRIPE}\n")
        server = {"command": "uvx", "args": ["shop-mcp"], "env": {"KEY": STRIPE}}
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"shop": server}}))
    day, base = date(2026, 11, 1), tmp_path / "base.json"
    found = discover(Discovery(day, (at[0],))).standing.open
    assert {"dotenv-committed", "unpinned-mcp-package"} <= {one.case for one in found}
    base.write_bytes(render_baseline(found))
    for folder in at:
        told = discover(Discovery(day, (folder,), baseline=base)).standing
        assert not told.open and len(told.known) == len(found) and not told.gone
    with (at[1] / ".env").open("a") as file:
        file.write(f"# more\nGITLAB_TOKEN={GITLAB}\n")
    told = discover(Discovery(day, (at[1],), baseline=base)).standing
    (more,) = told.open
    assert more.case == "dotenv-committed" and [one.split()[-1] for one in told.added[more.id]] == ["GITLAB_TOKEN"]


def test_an_environment_file_that_git_leaves_alone_is_one_of_this_machine(tmp_path: Path) -> None:
    for name in ("shop", "blog"):
        subprocess.run(["git", "init", "-q", name], cwd=tmp_path, check=True)
        (tmp_path / name / ".env").write_text(f"STRIPE_KEY={STRIPE}\n")
    subprocess.run(["git", "add", "-f", ".env"], cwd=tmp_path / "blog", check=True)
    found = discover(Discovery(date(2026, 11, 1), (tmp_path / "shop", tmp_path / "blog"))).standing.open
    cases = {one.case: one for one in found}
    assert cases["dotenv-on-this-machine"].places[0].path.endswith("shop/.env")
    assert cases["dotenv-on-this-machine"].severity == "medium" and "git rm" not in cases["dotenv-on-this-machine"].next
    assert cases["dotenv-committed"].places[0].path.endswith("blog/.env")
    alone = discover(Discovery(date(2026, 11, 1), (tmp_path / "shop/.env",))).standing.open
    assert [one.case for one in alone] == ["dotenv-on-this-machine"]
