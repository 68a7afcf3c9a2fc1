"""An exception at each executed line of the authorization path never becomes a permit (S4, T5.3).

A tracer notes which lines of our modules a scenario executes, then each line raises once in a run,
for six kinds of exception: at its first execution for the first kind, at one drawn from all of its
executions for the others. Whatever happens: no call, lease, task or policy directory is accepted that must
not be, nothing is delivered, and recovery leaves no credential behind. Lines that only run when a
cache is cold run cold: caches are emptied before each trial.

Counted are the lines that hold executable code of a function, method, lambda or comprehension,
swept or not. Lines of module and class bodies run at import, before anybody asks, and are not; nor
is the line of a `def` itself, which belongs to the body around it. A line is swept in one scenario: where
there is one that permits, since there a swallowed exception comes out as a permit; of several the one
that reaches it soonest.
"""

import asyncio
import dis
import inspect
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from linecache import getline
from pathlib import Path
from time import perf_counter
from types import CodeType, ModuleType
from typing import Any

import pytest

import taskbound.core.call as call
import taskbound.core.catalogue as catalogue
import taskbound.core.cedar as cedar
import taskbound.core.details as details
import taskbound.core.grant as grant
import taskbound.core.identity as identity
import taskbound.core.intent as intent
import taskbound.core.lease as lease
import taskbound.core.organisation as organisation
import taskbound.core.policy as policy
import taskbound.core.projection as projection
import taskbound.core.task as task
import taskbound.core.thing as thing
import taskbound.edge.claims as claims
import taskbound.edge.enforce as enforce
import taskbound.edge.http as http
import taskbound.edge.request as request
import taskbound.ending as ending
import taskbound.prove as prove
import taskbound.steps.attest_workload as attest_workload
import taskbound.steps.close_task as close_task
import taskbound.steps.count_denials as count_denials
import taskbound.steps.decide_call as decide_call
import taskbound.steps.end_task as end_task
import taskbound.steps.hold_task as hold_task
import taskbound.steps.issue_lease as issue_lease
import taskbound.steps.issue_token as issue_token
import taskbound.steps.load_policy as load_policy
import taskbound.steps.look_up as look_up
import taskbound.steps.note_refusal as note_refusal
import taskbound.steps.open_task as open_task
import taskbound.steps.pin_tools as pin_tools
import taskbound.steps.register_identity as register_identity
import taskbound.steps.revoke_lease as revoke_lease
from taskbound.core.errors import Denied, InvalidRequest, Unauthenticated
from tests.faults import deeds, holding, knocks, loads, scenarios, tools
from tests.notes import note
from tests.profile import FULL
from tests.rig import Rig

SWEPT = (
    call, policy, cedar, intent, grant, details, identity, projection, catalogue, prove, ending,
    organisation, task, thing, lease,
    decide_call, issue_lease, attest_workload, open_task, end_task, revoke_lease, register_identity, issue_token,
    look_up, note_refusal, count_denials, hold_task, load_policy, pin_tools, close_task,
    enforce, http, request, claims,
)  # fmt: skip
FILES = {str(module.__file__): module.__name__ for module in SWEPT}
KINDS: tuple[type[BaseException], ...] = (
    ValueError, KeyError, OSError, TimeoutError, MemoryError, asyncio.CancelledError,
)  # fmt: skip
# What must not come out: something given or claimed; given with nothing on record; a process that cannot stop; and
# a step that claims to have done what it has not.
WRONG = ("permitted", "unrecorded", "hangs", "AssertionError")
SHORT = 300  # lines of the short profile, drawn anew in each run

SCENARIOS = {
    **scenarios.SCENARIOS, **deeds.SCENARIOS, **knocks.SCENARIOS, **tools.SCENARIOS, **holding.SCENARIOS,
    **loads.SCENARIOS,
}  # fmt: skip

Line = tuple[str, int]


class Fault:
    """A tracer that notes when and how often the lines of the swept files run, and raises at the n-th run of one."""

    def __init__(self, at: Line | None = None, kind: type[BaseException] = ValueError, n: int = 1) -> None:
        self.seen: dict[Line, float] = {}  # when it first ran, in this order
        self.times: Counter[Line] = Counter()
        self.at, self.kind, self.n, self.raised = at, kind, n, False

    def __enter__(self) -> "Fault":
        self._before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _enter(self, frame, event, arg):
        return self._line if frame.f_code.co_filename in FILES else None

    def _line(self, frame, event, arg):
        if event == "line":
            line = (frame.f_code.co_filename, frame.f_lineno)
            self.times[line] += 1
            if line not in self.seen:
                self.seen[line] = perf_counter()
            if line == self.at and self.times[line] == self.n:
                self.raised = True
                raise self.kind("raised by the test")
        return self._line


def cold() -> None:
    """Empty every cache of the swept modules."""
    for module in SWEPT:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


# On the line of a `def` stand only these: the frame is made and entered.
_ENTRY = {"RESUME", "RETURN_GENERATOR", "POP_TOP", "MAKE_CELL", "COPY_FREE_VARS"}
_PROMISE = {"RESUME", "RETURN_GENERATOR", "POP_TOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}  # of a module's body: run at import


def function_lines(module: ModuleType) -> set[Line]:
    """Return the lines of the module's functions that hold executable code."""

    def codes(code: CodeType, at_import: bool = True) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                is_function = bool(constant.co_flags & inspect.CO_NEWLOCALS)  # a class body has none of its own
                if is_function and not (at_import and constant.co_name in _COMPREHENSIONS) and not is_promise(constant):
                    yield constant
                yield from codes(constant, at_import and not is_function)

    path = str(module.__file__)
    return {
        (path, instruction.positions.lineno)
        for code in codes(compile(Path(path).read_text(), path, "exec"))
        for instruction in dis.get_instructions(code)
        if instruction.opname not in _ENTRY and instruction.positions and instruction.positions.lineno
    }


def is_promise(code: CodeType) -> bool:
    """Whether the body is `...`, as a Protocol's methods have it."""
    return code.co_name != "<lambda>" and {one.opname for one in dis.get_instructions(code)} <= _PROMISE


# What no scenario executes, by its text, and why. A line that is neither executed nor here turns the test red.
UNREACHED: dict[str, str] = {
    "return self.candidates(request).organisation": "asked by tests alone",
    "return _walk(policy_est)[0]": "asked by tests alone",
    'raise InvalidRequest("the file reads differently as a whole and by policy", code="invalid_argument")':
        "a guard: no text is known that gets there",
    'return Decision((Deny("check_failed", "a level without a grant was permitted"),), context)':
        "a guard: the check before it has refused",
    'return f"without {condition.argument}"': "a word of an explanation",
    'raise AlreadyOpened(f"task {task.id} was opened with this idempotency key, and nothing holds it")':
        "a refusal, seen in steps/test_open_task_rules",
    'return not_presented("it is standing: its delivery ended with the lease, and it lives on at its issuer")':
        "no target of the sweep is static",
    "return task": "it ended between two reads of one transaction: steps/test_hold_task",
    "return []": "a line for the type checker: the decision before it has raised",
    'resource, effect, args = Entity(Uid(call.resource.partition("/")[0].capitalize(), call.resource)), "", {}':
        "every step tells the registration that it is about",
}  # fmt: skip


async def run(name: str, fault: Fault) -> tuple[Rig, str]:
    """Run one scenario with the fault in it. Return the rig and what came out: permitted, or how it was refused."""
    rig = Rig()
    await rig.people()
    prepare, act = SCENARIOS[name]
    given = await prepare(rig)
    cold()
    try:
        with fault:
            return rig, await asyncio.ensure_future(
                act(rig, given)
            )  # what it leaves to be cancelled is cancelled alone
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return rig, type(error).__name__


async def executed() -> dict[Line, tuple[str, int]]:
    """Return each line that some scenario executes, with the one in which it is swept, and how often that does."""
    found: dict[Line, tuple[bool, float, str, int]] = {}
    await run(next(iter(SCENARIOS)), Fault())  # what is slow only once is not measured
    for name in SCENARIOS:
        began = perf_counter()
        fault = Fault()
        await run(name, fault)
        for line, moment in fault.seen.items():
            place = not name.startswith("permitted"), moment - began, name, fault.times[line]
            found[line] = min(place, found.get(line, place))
    return {line: (name, times) for line, (_, _, name, times) in found.items()}


async def swept(line: Line, name: str, kind: type[BaseException], n: int) -> str:
    """Raise at the n-th run of the line; check that nothing was given and nothing is left. Return what came out."""
    fault = Fault(line, kind, n)
    rig, outcome = await run(name, fault)
    where = f"{FILES[line[0]]}:{line[1]} (run {n}) {kind.__name__} in {name}"
    if not fault.raised and n > 1:  # ids are random, and with them how often some lines run
        return await swept(line, name, kind, 1)
    assert fault.raised, f"{where}: the line was not reached again, {outcome} came out"
    assert outcome not in WRONG, f"{where}: {outcome}"
    assert rig.names_at_targets() <= rig.names_with_a_lease(), where
    await rig.restart_later()
    assert rig.names_at_targets() == set(), where
    rig.check()
    return outcome


@pytest.fixture(scope="module")
def ran() -> dict[Line, tuple[str, int]]:
    return asyncio.run(executed())


async def test_an_exception_at_any_line_is_never_a_permit(ran):
    lines = sorted(ran.items())
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    if not FULL:
        lines = draw.sample(lines, min(SHORT, len(lines)))
    outcomes: Counter[str] = Counter()
    for line, (name, times) in lines:
        for kind in KINDS if FULL else (draw.choice(KINDS),):
            n = 1 if kind is KINDS[0] else draw.randint(1, times)
            outcomes[await swept(line, name, kind, n)] += 1
    swept_in = Counter(FILES[path] for (path, _), _ in lines)
    note(
        "lines swept: "
        + ", ".join(f"{swept_in[module]} of {module.removeprefix('taskbound.')}" for module in FILES.values())
    )
    kinds = len(KINDS) if FULL else 1
    note(f"seed {seed}; {len(lines)} lines, {kinds} kinds each: {outcomes.total()} trials, 0 permits")
    note("what came out: " + ", ".join(f"{outcome} {n}" for outcome, n in outcomes.most_common()))


def test_the_sweep_covers_the_authorization_path(ran):
    lines = set(ran)
    total = 0
    missed: list[str] = []
    for module in SWEPT:
        own = function_lines(module)
        assert {line for line in lines if line[0] == module.__file__} <= own, "a line was swept that is not counted"
        left = [(line, getline(path, line).strip()) for path, line in sorted(own - lines)]
        total, missed = total + len(own), missed + [one for _, one in left]
        share = 1 - len(left) / len(own)
        print(f"{module.__name__}: not executed: {left}")
        note(f"{module.__name__.removeprefix('taskbound.')} {100 * share:.1f} %")
        assert share >= 0.9, f"{module.__name__}: {len(left)} of {len(own)} lines are executed by no scenario"
    note(f"all: {total - len(missed)} of {total} lines, {100 * (1 - len(missed) / total):.1f} %")
    assert sorted(missed) == sorted(UNREACHED), "what is not executed is not what is said to be"


@pytest.mark.parametrize("name", SCENARIOS)
async def test_control_each_scenario_says_what_it_is_about_without_a_fault(name):
    _, outcome = await run(name, Fault())
    assert outcome == name.partition(":")[0]


def _asked(original):
    def swallowing(check, case, answer):
        """A check that answers "no objection" when it breaks."""
        try:
            return check(case, answer)
        except Exception:
            return None

    return swallowing


def _parse_policies(original):
    def swallowing(text):
        """A file of policies that is left out when it cannot be read, its forbids with it."""
        try:
            return original(text)
        except InvalidRequest:
            raise
        except Exception:
            return ()

    return swallowing


def _validate(original):
    def swallowing(policy, schema):
        """A validator that finds nothing wrong when it breaks."""
        try:
            return original(policy, schema)
        except Exception:
            return []

    return swallowing


def _task_above(original):
    def swallowing(holders, process, ancestry):
        """A look at who holds a process that finds nobody when it breaks."""
        try:
            return original(holders, process, ancestry)
        except Unauthenticated:
            raise
        except Exception:
            return None

    return swallowing


def _proven(original):
    async def swallowing(world, door, claim):
        """A door that goes on with who is said to ask when the proof breaks."""
        try:
            return await original(world, door, claim)
        except Unauthenticated:
            raise
        except Exception:
            return claim

    return swallowing


def _require_local(original):
    def swallowing(scope):
        """A look at where a request comes from that finds nothing wrong when it breaks."""
        try:
            original(scope)
        except (Denied, InvalidRequest):
            raise
        except Exception:
            return

    return swallowing


def _decide_call(original):
    last: list[Any] = []

    async def swallowing(*asked):
        """A decision that is the last one again when it breaks."""
        try:
            last[:] = [await original(*asked)]
        except Exception:
            if not last:
                raise
        return last[0]

    return swallowing


def _complete_call(original):
    async def swallowing(*done):
        """A record that is tried until it is made: when it breaks once, for ever."""
        try:
            await original(*done)
        except Exception:
            await asyncio.Event().wait()

    return swallowing


def _end_tree(original):
    async def swallowing(*asked):
        """An end that has ended nothing when it breaks, and says that all is done."""
        try:
            return await original(*asked)
        except Exception:
            return []

    return swallowing


def _why_not_open(original):
    def swallowing(task, now):
        """A look at a task's state that finds it open when it breaks."""
        try:
            return original(task, now)
        except Exception:
            return None

    return swallowing


def _register(original):
    async def swallowing(*asked):
        """A registration that is left out of a load when it breaks."""
        try:
            return await original(*asked)
        except InvalidRequest:
            raise
        except Exception:
            return None

    return swallowing


def _pinned(original):
    async def swallowing(*asked):
        """A pin that comes into force without its record when that breaks."""
        try:
            return await original(*asked)
        except Exception:
            return None

    return swallowing


def _write(original):
    def swallowing(*asked):
        """Files that are written or not, and whoever asked for a pin is told that it is there."""
        try:
            original(*asked)
        except Exception:
            return

    return swallowing


def _unseen(original):
    async def swallowing(*asked):
        """A look at who may see a task that has nothing against it when it breaks."""
        try:
            return await original(*asked)
        except Exception:
            return None

    return swallowing


# Where a mistake is planted, in which scenario, and as what it comes out.
MISTAKES: tuple[tuple[Any, str, Callable[[Any], Any], str, str], ...] = (
    (call, "asked", _asked, "denied:ended", "permitted"),
    (organisation, "parse_policies", _parse_policies, "denied:breadth_load", "permitted"),
    (organisation, "validate", _validate, "denied:not_valid", "permitted"),
    (claims.Holders, "task_above", _task_above, "denied:http_below_a_holder", "permitted"),
    (http, "proven", _proven, "401:http_stranger", "permitted"),
    (http, "require_local", _require_local, "denied:http_requests", "permitted"),
    (enforce, "decide_call", _decide_call, "permitted:enforce", "unrecorded"),
    (enforce, "complete_call", _complete_call, "permitted:enforce", "hangs"),
    (end_task, "end_tree", _end_tree, "permitted:end", "AssertionError"),
    (task.Task, "why_not_open", _why_not_open, "denied:ended", "permitted"),
    (load_policy, "_register", _register, "permitted:load", "AssertionError"),
    (pin_tools, "_pinned", _pinned, "permitted:pin", "unrecorded"),
    (pin_tools, "_write", _write, "permitted:pin", "permitted"),
    (close_task, "unseen", _unseen, "Denied:receipt", "permitted"),
)


@pytest.mark.parametrize(
    ("owner", "name", "swallows", "scenario", "wrong"), MISTAKES, ids=[name for _, name, *_ in MISTAKES]
)
async def test_control_a_swallowed_exception_is_found_out(monkeypatch, owner, name, swallows, scenario, wrong):
    """What this sweep exists to find is found: each of these mistakes turns it red, each in its way."""
    swallowed = getattr(owner, name)
    monkeypatch.setattr(owner, name, swallows(swallowed))
    monkeypatch.setattr(knocks, "STOPS", 0.2)
    fault = Fault()
    assert (await run(scenario, fault))[1] == scenario.partition(":")[0], "without a fault nothing is swallowed"
    likely = (str(inspect.getfile(swallowed)), str(inspect.getfile(owner)))  # where the mistake is, first
    for line in sorted(fault.seen, key=lambda line: line[0] not in likely):
        try:
            await swept(line, scenario, KeyError, 1)
        except AssertionError as red:
            if f" in {scenario}: {wrong}" in str(red):
                return
    pytest.fail(f"no swallowed exception came out as {wrong}: the sweep sees nothing")


def test_control_each_wrong_outcome_has_a_mistake_that_is_found():
    assert {wrong for *_, wrong in MISTAKES} == set(WRONG)
