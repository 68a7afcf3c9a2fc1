"""Thing: what all nouns share: an id, an organisation, and a state that moves by a table.

A noun declares its life as `LIFECYCLE`: state -> fact -> next state. The state before creation is
"". `advance` is the only way to a next value; a store checks the same table against what it
holds, which makes each write conditional (INTERFACES 12).
"""

from collections.abc import Mapping
from dataclasses import Field, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

from taskbound.core.errors import IllegalTransition
from taskbound.core.event import Event, Kind

Lifecycle = Mapping[str, Mapping[Kind, str]]


class Thing(Protocol):
    """A frozen value with a life."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    LIFECYCLE: ClassVar[Lifecycle]
    INDEXED: ClassVar[tuple[str, ...]]  # the fields that a store can find it by

    @property
    def id(self) -> str: ...

    @property
    def org(self) -> str: ...

    @property
    def state(self) -> str: ...


T = TypeVar("T", bound=Thing)


def noun_of(thing: Thing | type[Thing]) -> str:
    """Return the noun's name as it stands in events: the class's in lower case; a Registration is an identity."""
    name = (thing if isinstance(thing, type) else type(thing)).__name__.lower()
    return "identity" if name == "registration" else name


def next_state(thing: Thing | type[Thing], state: str, kind: Kind, id: str = "") -> str:
    """Return the state that a fact leads to. Raises IllegalTransition."""
    try:
        return thing.LIFECYCLE[state][kind]
    except KeyError:
        raise IllegalTransition(f"{noun_of(thing)} {id} is {state or 'new'}: {kind} cannot follow") from None


def advance(thing: T, kind: Kind, **changes: Any) -> T:
    """Return the thing as it is after the fact, or refuse a fact that cannot follow."""
    return replace(thing, state=next_state(thing, thing.state, kind, thing.id), **changes)


def event_about(
    thing: Thing | None,
    kind: Kind,
    detail: dict[str, object],
    *,
    org: str,
    at: datetime,
    by: str,
    via: str,
    request: object,
    spent: Mapping[str, int],
    shared: Mapping[str, int],
) -> Event:
    """Return the fact as every store states it. One about no thing has what it is about as `id` in its detail.

    Raises TypeError where it moves what it cannot: only what is about a task spends, only `task.opened` shares.
    """
    if spent and not isinstance(getattr(thing, "task", None), str):
        raise TypeError(f"{kind} spends, but is about no task")
    if shared and (thing is None or kind is not Kind.TASK_OPENED):
        raise TypeError(f"{kind} shares no budget")
    about = str(detail.pop("id", "")) if thing is None else thing.id
    noun = kind.partition(".")[0] if thing is None else noun_of(thing)
    return Event(org, kind, at, by, via, noun, about, str(request), thing, dict(spent), dict(shared), detail)
