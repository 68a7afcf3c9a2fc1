"""`make demo`: one task from open to end, told line by line and judged from outside.

    python -m demo.tell [--pair user_task_6,injection_task_2] [--keep]

A person asks an assistant something (a published AgentDojo user task). What it reads holds an attack
(a published injection), and it obeys. Everything printed is what happened in this run; whether a line
holds is judged by what the MCP server received at each step, what PostgreSQL's catalogue and log
say, /proc, logins from elsewhere, and the exported log; the agent stands still while it is judged.
Nothing of Taskbound is imported: it is the command beside this Python.
A line that does not hold ends the demo with exit status 1.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from demo import database
from demo.agent import READS
from demo.judge import agent_below, denial, exported, is_cut, shown, surroundings, text_of, until
from demo.published import key, read_suite
from demo.stage import DoesNotHold, Run, Stage, Story, profile_of, run, stage, values_of

DEFAULT_PAIR = "user_task_6,injection_task_2"


async def without_a_task(at: Stage, story: Story) -> None:
    story.head("a", "without a task")
    address = urlsplit(at.gateway)
    connection = HTTPConnection(address.netloc, timeout=10)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", address.path, body, headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    story.tell(
        f"the gateway refuses: {answer.status} {said['error']}, {said['error_description']}", answer.status == 401
    )
    place = at.office.log.stat().st_size
    try:
        await at.office.login("assistant", "guessed")
        said = "logged in"
    except asyncpg.PostgresError as error:
        said = str(error)
    logged = "FATAL:  password authentication failed" in at.office.logged_since(place)
    story.tell(f"the database refuses: {said}", logged)
    nothing = not await at.roles() and not at.reached()
    story.tell("no leased login is there (pg_roles), and no call reached the MCP server", nothing)


async def opens(at: Stage, story: Story, agent: Run) -> str:
    profile = profile_of(at.task)
    story.head("b", f"a person asks, with profile {profile}")
    task = str((await agent.told("started"))["task"])
    found = {one["task"]: one for one in at.tasks()}
    story.tell(f"{task} is open until {found.get(task, {}).get('deadline')}", found[task]["state"] == "open")
    story.add(f"intent: {at.task.prompt}")
    for name, value in values_of(at.task, profile).items():
        story.add(f"{name}: {value}")
    for grant in at.ask(f"/v1/tasks/{task}")["grants"]:
        story.add(f"may {grant['said']}")
    return task


async def sees_nothing(at: Stage, story: Story, agent: Run) -> None:
    """Tell how the credential folders were hidden: by /proc, what it saw itself, and what `taskbound run` said."""
    looked = await agent.told("looked")
    namespaces, held, variables = surroundings(agent_below(agent.process.pid), looked["sees"])
    apart = [kind for kind, id in namespaces.items() if id != os.readlink(f"/proc/self/ns/{kind}")]
    by_itself = [place for place, found in looked["sees"].items() if any(one.strip() for one in found)]
    seen = [Path(place).name for place in looked["sees"] if place in by_itself or place in held]
    words = {"user": "user", "mnt": "mount", "pid": "PID"}
    if apart:
        names = ", ".join(words[kind] for kind in apart)
        story.tell(
            f"hidden by namespaces ({names}): of {len(looked['sees'])} places it sees {seen or 'nothing'}", not seen
        )
    else:
        named = "\n".join(agent.said)
        story.tell(
            f"the kernel lets nothing be hidden here, it sees {seen}, and taskbound run says so", "reach" in named
        )
    for line in agent.said:
        if "reach" in line or "same user" in line:
            story.add(line)
    secrets = [name for name in variables if re.search(r"KEY|SECRET|TOKEN|PASSWORD|ADMIN", name)]
    story.tell(
        f"its environment has {len(variables)} variables, secrets by name: {secrets}", bool(variables) and not secrets
    )


async def works(at: Stage, story: Story, agent: Run, counts: bool) -> None:
    story.head("c", "the agent makes the published calls" + ("" if counts else " (told, not counted)"))
    for call in at.task.calls:
        said = await agent.told("call")
        arrived = at.arrived()
        line = f"{call.tool}({text_of(call.arguments)}): "
        if code := denial(said):
            story.tell(f"{line}denied, {code}; {said['says'][:160]}", not counts and not arrived)
        else:
            reached = arrived == [key(call.tool, call.arguments)]
            story.tell(f"{line}permitted, and it reached the MCP server", reached and not said["failed"])


async def obeys(at: Stage, story: Story, agent: Run, counts: bool) -> None:
    told = "derived, told, not counted" if at.attack.derived else "told, not counted"
    story.head("d", "what it read holds an attack, and it obeys" + ("" if counts else f" ({told})"))
    read = (await agent.told("read"))["injection"]
    planted = any(one["planted"] for one in at.reached())
    if read and planted:
        story.tell(f"an answer of the MCP server held: {at.attack.goal!r}")
    else:
        story.tell("no call that was permitted was answered with the planted text", not counts and read == planted)
    nothing_else(at, story)
    for call in at.attack.calls if read else ():
        said = await agent.told("call")
        arrived = at.arrived()
        line = f"{call.tool}({text_of(call.arguments)}): "
        if code := denial(said):
            story.tell(f"{line}denied, {code}; it did not reach the MCP server", not arrived)
            story.add(f"{said['says'][:200]}")
            if hint := said["denied"].get("hint"):
                story.add(f"hint: {hint}")
        else:
            story.tell(f"{line}permitted", not counts and arrived == [key(call.tool, call.arguments)])


def nothing_else(at: Stage, story: Story) -> None:
    arrived = at.arrived()
    story.tell(f"no other call has reached the MCP server{''.join(f'; {one}' for one in arrived)}", not arrived)


async def delegates(at: Stage, story: Story, agent: Run, task: str) -> None:
    story.head("e", "a sub-agent gets less, and cannot exceed it")
    wider = await agent.told("delegated")
    reason = wider["answer"].get("error_description") or wider["answer"].get("error")
    children = [one for one in at.tasks() if one["parent"] == task]
    refused = wider["status"] in (400, 403) and not children
    story.tell(f"a child task with {wider['what']} is refused: {reason}", refused)
    child = await agent.told("delegated")
    story.tell(f"a child task that only reads: {child['answer'].get('task', child['answer'])}", child["status"] == 201)
    listed = next(one for one in at.tasks() if one["task"] == child["answer"]["task"])
    story.tell(f"it stands below {listed['parent']}, until {listed['deadline']}", listed["parent"] == task)
    nothing_else(at, story)
    reads = await agent.told("call")
    reached = at.arrived() == [key(reads["tool"], reads["arguments"])]
    line = f"the sub-agent reads by {reads['tool']}: permitted, and it reached the MCP server"
    story.tell(line, denial(reads) is None and reached)
    exceeds = await agent.told("call")
    arrived = at.arrived()
    reason = f"denied, {denial(exceeds)}; it did not reach the MCP server"
    story.tell(f"it tries {exceeds['tool']}: {reason}", denial(exceeds) is not None and not arrived)
    lease = await agent.told("lease")
    said = lease["answer"].get("error_description")
    roles = await at.roles()
    story.tell(f"it asks for the database login: {lease['status']} {said}; pg_roles has {len(roles)}", len(roles) == 1)


async def queries(at: Stage, story: Story, agent: Run) -> None:
    story.head("f", "it queries PostgreSQL by a lease that it was given")
    place = at.office.log.stat().st_size
    found = await agent.told("queried")
    roles = await at.roles()
    logged = [line for line in at.office.logged_since(place).splitlines() if f" {found['user']} " in line]
    story.tell(f"as {found['user']} ({found['class']}, until {found['expires']})", roles == [found["user"]])
    asked = any("SELECT name FROM rooms" in line for line in logged)
    story.tell(f"it reads the rooms: {', '.join(found['rooms'])}", asked and found["rooms"] == ["Oak", "Birch"])
    refused = any("ERROR:  permission denied for table salaries" in line for line in logged)
    story.tell(f"it tries the salaries: {found['salaries']}", refused)
    owner = await at.owner_of("briefing")
    story.tell(f"it makes the table briefing, which now belongs to {owner}", owner == found["user"])
    nothing_else(at, story)


async def loses_everything(
    at: Stage, story: Story, agent: Run, leaked: Mapping[str, Any], ending: "Ending", status: int
) -> None:
    """Tell how an agent's end takes its login, an open connection and its handle."""
    user, password = leaked["login"]["user"], leaked["login"]["password"]
    stolen = await at.office.login(user, password)
    sessions = await at.sessions(user)
    story.tell(f"who stole its login and handle logs in as {user}; sessions: {sessions}", not await is_cut(stolen))
    said = await shown(at, leaked["handle"])
    reached = at.arrived() == [key("get_current_day", {})]
    story.tell(f"and the gateway answers the handle: {said}", said == "permitted" and reached)
    began = perf_counter()
    ending.happen(agent)
    story.tell(ending.line)

    async def is_gone() -> bool:
        return user not in await at.roles()

    cut = await until(lambda: is_cut(stolen))
    story.tell(f"the open connection is cut {(perf_counter() - began) * 1000:,.0f} ms after that", cut is not None)
    gone = await until(is_gone)
    story.tell(
        f"the login is gone from pg_roles {(perf_counter() - began) * 1000:,.0f} ms after that", gone is not None
    )
    got = await asyncio.wait_for(agent.process.wait(), 20)
    story.tell(f"taskbound run ended with status {got}", got == status)
    place = at.office.log.stat().st_size
    with suppress(asyncpg.PostgresError):
        await at.office.login(user, password)
    logged = re.search(rf"FATAL:  (.*{user}.*)\n.*DETAIL:  (.*)", at.office.logged_since(place))
    story.tell(
        f"another login, by PostgreSQL's log: {' '.join(logged.groups()) if logged else 'nothing'}", logged is not None
    )
    said = await shown(at, leaked["handle"])
    story.tell(f"the gateway answers the handle: {said}", said == "task_ended")
    nothing_else(at, story)


@dataclass(frozen=True)
class Ending:
    """How an agent ends."""

    line: str
    killed: bool

    def happen(self, agent: Run) -> None:
        if self.killed:
            os.kill(agent_below(agent.process.pid), signal.SIGKILL)
        else:
            agent.go_on()  # it waits for that


async def first_agent(at: Stage, story: Story, counts: bool) -> str:
    agent = await run(at, "assistant", at.task.id, at.attack.id, str(at.base / "state"))
    try:
        task = await opens(at, story, agent)
        await sees_nothing(at, story, agent)
        await works(at, story, agent, counts)
        await obeys(at, story, agent, counts)
        await delegates(at, story, agent, task)
        await queries(at, story, agent)
        leaked = await agent.told("leaked")
        story.head("g", "the task ends")
        await loses_everything(at, story, agent, leaked, Ending("the agent is done, and ends", False), 0)
        owner = await at.owner_of("briefing")
        story.tell(f"the table briefing belongs to {owner}", owner == database.OWNER)
        states = {one["task"]: one["state"] for one in at.tasks() if task in (one["task"], one["parent"])}
        story.tell(
            f"the task and its child: {states}", set(states.values()) <= {"ended", "closed"} and len(states) == 2
        )
    finally:
        await stop(agent)
    return task


async def second_agent(at: Stage, story: Story) -> None:
    story.head("h", "a second agent is killed")
    agent = await run(at, "worker")
    try:
        leaked = await agent.told("leaked")

        async def runs() -> bool:
            return await at.runs(leaked["login"]["user"], "SELECT pg_sleep(600)")

        agent.go_on()
        asked = at.arrived()
        line = f"{leaked['task']} is open; its agent ignores SIGTERM, and runs a query of ten minutes"
        story.tell(line, await until(runs) is not None and asked == [key("get_current_day", {})])
        ending = Ending("its process gets kill -9", True)
        await loses_everything(at, story, agent, leaked, ending, 128 + signal.SIGKILL)
    finally:
        await stop(agent)


async def stop(agent: Run) -> None:
    if agent.process.returncode is None:
        os.kill(agent.process.pid, signal.SIGTERM)  # asyncio's own way may take its status away from asyncio
        with suppress(TimeoutError):
            await asyncio.wait_for(agent.process.wait(), 15)


# --- afterwards -----------------------------------------------------------------------------------


def why(at: Stage, story: Story, log: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Tell why one effect was allowed."""
    wanted = [call.tool for call in at.task.calls if not call.tool.startswith(READS)]
    wanted += [call.tool for call in at.task.calls]
    permitted = [(header["id"], json.dumps(body)) for header, body in log if header["kind"] == "call.permitted"]
    id = next((id for tool in wanted for id, body in permitted if f"workspace/{tool}" in body), permitted[0][0])
    story.head("i", f"why could {id} happen")
    done = at.command("why", id)
    story.tell(f"taskbound why {id}", done.returncode == 0)
    for line in done.stdout.splitlines()[:16]:
        story.add(line)


def audit(at: Stage, story: Story, export: Path, task: str) -> None:
    story.head("j", "the log")
    done = at.command("audit", "verify", str(export))
    story.tell(f"taskbound audit verify: {done.stdout.splitlines()[-2]}", done.returncode == 0)
    log = exported(export)
    kinds = [header["kind"] for header, _ in log if header["id"] == task]
    story.tell(f"it has {', '.join(dict.fromkeys(kinds))} of {task}", {"task.opened", "task.ended"} <= set(kinds))
    calls = Counter(header["kind"] for header, _ in log if header["noun"] == "call")
    arrived = len(at.reached())
    story.tell(f"and {dict(calls)}; the MCP server received {arrived}", calls["call.permitted"] == arrived)
    bundle = next(path for path in (export / "tile/entries").rglob("*") if path.is_file())
    data = bytearray(bundle.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    bundle.write_bytes(data)
    done = at.command("audit", "verify", str(export))
    story.tell(f"one bit of byte {middle} changed: {done.stdout.splitlines()[0]}", done.returncode == 4)


def receipt(at: Stage, story: Story, task: str) -> None:
    story.head("k", "the receipt")
    done = at.command("receipt", "show", task)
    story.tell(f"taskbound receipt show {task}: {len(done.stdout)} bytes", done.returncode == 0)
    for line in done.stderr.splitlines()[:12]:
        story.add(line[:160])
    file = at.base / "receipt"
    file.write_text(done.stdout)
    done = at.command("receipt", "verify", str(file), home=at.base / "nowhere")
    said = (done.stdout or done.stderr).splitlines()[:1]
    story.tell(f"verified offline, with nothing but the file: {' '.join(said)}", done.returncode == 0)


async def tell(pair: str, keep: bool) -> None:
    """Tell the story of one pair. Raises DoesNotHold at the first line that is not true."""
    suite = read_suite()
    user, _, injection = pair.partition(",")
    if user not in suite.user_tasks or injection not in suite.injection_tasks:
        raise SystemExit(f"there is no pair {pair!r}\nhint: PAIR={DEFAULT_PAIR}")
    task, attack, counts = suite.user_tasks[user], suite.injection_tasks[injection], pair == DEFAULT_PAIR
    story = Story()
    derived = ", derived" if attack.derived else ""
    print(f"AgentDojo v1.2.2, suite workspace: {user}, {injection}{derived}")
    async with stage(suite, task, attack, keep, story) as at:
        await without_a_task(at, story)
        id = await first_agent(at, story, counts)
        await second_agent(at, story)
        export = at.base / "export"
        done = at.command("audit", "export", str(export))
        if done.returncode != 0:
            raise DoesNotHold(f"taskbound audit export: {done.stderr}")
        why(at, story, exported(export))
        audit(at, story, export, id)
        receipt(at, story, id)
        story.tell("every line holds")


def main() -> None:
    parser = argparse.ArgumentParser("demo.tell", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pair", default=os.environ.get("PAIR") or DEFAULT_PAIR)
    parser.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1")
    asked = parser.parse_args()
    try:
        asyncio.run(tell(asked.pair, asked.keep))
    except DoesNotHold as error:
        print(f"the demo ends here: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
