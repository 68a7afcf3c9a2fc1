"""The contract of `Upstream` (ports.py, INTERFACES 12, T4.8). Every upstream passes every test here.

A module that runs it imports `*` and gives the fixtures `workspace` (tests/eras.py: a real server of
either era, what reached it and what ran) and `open_upstream`, which makes one session with it.
"""

import asyncio
from contextlib import aclosing

import pytest

from taskbound.core.errors import UpstreamUnavailable


async def called(upstream, tool, **arguments):
    """Return all messages that answer a call."""
    async with aclosing(upstream.call(tool, arguments, None)) as messages:
        return [message async for message in messages]


def text_of(message):
    return message["result"]["content"][0]["text"]


async def test_tools_are_those_that_the_server_offers(workspace, open_upstream):
    upstream = open_upstream()
    tools = await upstream.tools()
    assert [tool["name"] for tool in tools] == ["echo", "count", "fail", "ask", "wait"]
    assert tools[0]["description"] == "Return the text."
    assert tools[0]["inputSchema"]["required"] == ["text"]


async def test_a_call_is_answered_by_its_result(workspace, open_upstream):
    (message,) = await called(open_upstream(), "echo", text="gr\u00fcezi \u2028 \"'\n")
    assert text_of(message) == "gr\u00fcezi \u2028 \"'\n"
    assert not message["result"].get("isError")
    assert workspace.ran == [("echo", "gr\u00fcezi \u2028 \"'\n")]


async def test_a_tool_that_fails_is_a_result_and_no_exception(workspace, open_upstream):
    (message,) = await called(open_upstream(), "fail")
    assert message["result"]["isError"] is True and text_of(message)


async def test_a_tool_that_is_not_there_is_an_answer(workspace, open_upstream):
    (message,) = await called(open_upstream(), "nothing")
    assert "error" in message or message["result"]["isError"]
    assert workspace.ran == []


async def test_progress_arrives_while_the_call_runs(workspace, open_upstream):
    async with aclosing(open_upstream().call("count", {"steps": 3}, None)) as messages:
        first = await asyncio.wait_for(anext(messages), 5)
        assert first["method"] == "notifications/progress" and first["params"]["progress"] == 1
        assert not workspace.gate.is_set(), "the server has not gone on yet"
        workspace.gate.set()
        rest = [message async for message in messages]
    assert [m["params"]["progress"] for m in rest[:-1]] == [2, 3]
    assert text_of(rest[-1]) == "3 steps"


async def test_calls_at_once_get_their_own_answers(workspace, open_upstream):
    upstream = open_upstream()
    texts = [f"text {n}" for n in range(32)]
    answers = await asyncio.gather(*(called(upstream, "echo", text=text) for text in texts))
    assert [text_of(answer[-1]) for answer in answers] == texts


async def test_what_the_server_asks_is_refused_and_passed_on_to_nobody(workspace, open_upstream):
    messages = await asyncio.wait_for(called(open_upstream(), "ask"), 10)
    assert all("id" not in message for message in messages[:-1])
    assert text_of(messages[-1]).startswith("refused")


async def test_a_call_that_is_given_up_ends_at_the_server(workspace, open_upstream):
    upstream = open_upstream()
    async with aclosing(upstream.call("wait", {}, None)) as messages:
        await asyncio.wait_for(anext(messages), 5)
    assert await asyncio.to_thread(workspace.cancelled.wait, 5)
    assert text_of((await called(upstream, "echo", text="on"))[-1]) == "on"


async def test_a_definition_that_changed_is_seen(workspace, open_upstream):
    upstream = open_upstream()
    await upstream.tools()
    workspace.change("Return the text!")
    assert (await upstream.tools())[0]["description"] == "Return the text!"


async def test_the_same_list_is_given_while_nothing_has_changed(workspace, open_upstream):
    upstream = open_upstream()
    first = await upstream.tools()
    assert await upstream.tools() is first
    workspace.change("Return the text!")
    assert await upstream.tools() is not first


async def test_a_session_that_the_server_lost_is_opened_again(workspace, open_upstream):
    if not workspace.has_sessions:
        return  # nothing to lose
    upstream = open_upstream()
    await called(upstream, "echo", text="one")
    workspace.forget_sessions()
    with pytest.raises(UpstreamUnavailable, match="lost the session: call again"):  # nobody looked in a new one
        await called(upstream, "echo", text="two")
    assert text_of((await called(upstream, "echo", text="three"))[-1]) == "three"
    workspace.forget_sessions()
    assert len(await upstream.tools()) == 5, "a list is asked for once more"
    assert workspace.ran == [("echo", "one"), ("echo", "three")]


async def test_closing_ends_the_session_and_may_be_repeated(workspace, open_upstream):
    upstream = open_upstream()
    await called(upstream, "echo", text="one")
    assert workspace.sessions() == workspace.has_sessions
    await upstream.close()
    await upstream.close()
    assert workspace.sessions() == 0


async def test_closing_what_was_never_used_reaches_nobody(workspace, open_upstream):
    await open_upstream().close()
    assert workspace.requests == []


async def test_a_server_that_is_not_there_is_unavailable(workspace, open_upstream):
    upstream = open_upstream(nowhere=True)
    with pytest.raises(UpstreamUnavailable):
        await upstream.tools()
    with pytest.raises(UpstreamUnavailable):
        await called(upstream, "echo", text="one")
    await upstream.close()
