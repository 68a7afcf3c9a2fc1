"""Rows: things as rows of typed columns, and facts as the bodies of their events; shared by the durable stores.

A noun's columns are the fields of its dataclass, in order: text and integers as they are, moments
as microseconds since 1970 (so an index orders them), everything nested as one JSON text. How a
type is written and read follows from its annotation, once, when this module is imported; a type
that nobody thought of is refused there. JSON objects carry names, not positions: a field added
later with a default is absent from an old row, and reads as its default.

JSON has no decimal and one kind of list. A decimal is therefore written as {"decimal": "1.50"},
and a list is read as a tuple; text, integers and booleans are themselves.
"""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from taskbound.core.call import Call
from taskbound.core.event import Event
from taskbound.core.finding import Finding
from taskbound.core.identity import Registration
from taskbound.core.lease import Lease
from taskbound.core.task import Task
from taskbound.core.thing import Thing

T = TypeVar("T", bound=Thing)
Convert = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PLAIN = (str, int, bool, types.NoneType)
NUMBERS = frozenset((bool, int, datetime))  # a column of one of these is a number of 64 bits
READ_OFTEN = (Task, Registration)  # a call and a lease are read once, if at all
MEMO = 1024  # grants come from profiles: far fewer texts than tasks


def to_moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def to_shown_moment(microseconds: int) -> datetime:
    """Return the moment of a row that somebody may have edited into nonsense: it must still be shown."""
    try:
        return to_moment(microseconds)
    except OverflowError:  # no moment of ours: the leaf made from it will differ from the sealed one
        return datetime.max.replace(tzinfo=UTC)


def from_moment(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def _mapping_too(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_mapping_too).encode
_decode = msgspec.json.Decoder().decode


def _write_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_write_value(item) for item in value]
    return {"decimal": str(value)} if isinstance(value, Decimal) else value


def _read_value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_read_value(item) for item in value])
    return Decimal(value["decimal"]) if isinstance(value, dict) else value


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the types that a value may have: those of a union, else the one."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _codec(hint: Any) -> tuple[Convert | None, Convert | None]:
    """Return how a value of this type becomes JSON and comes back. None: as it is."""
    members = _members(hint)
    if all(member in PLAIN for member in members):
        return None, None
    if Decimal in members:  # a bound value (core.intent.Value)
        return _write_value, _read_value
    if types.NoneType in members and len(members) == 2:
        write, read = _codec(members[0])
        return _unless_none(write), _unless_none(read)
    if hint is datetime:
        return None, datetime.fromisoformat
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and args[1:] == (Ellipsis,):
        write, read = _codec(args[0])
        return _each(write, list), _each(read, tuple) or tuple
    if origin is Mapping and args[0] is str:
        write, read = _codec(args[1])
        return _each_member(write), _kept(_each_member(read))
    if is_dataclass(hint):
        return _object(hint)
    raise TypeError(f"no column is declared for a {hint}")


def _unless_none(convert: Convert | None) -> Convert | None:
    return convert and (lambda value: None if value is None else convert(value))


def _each(convert: Convert | None, into: Callable[[Any], Any]) -> Convert | None:
    return convert and (lambda values: into([convert(value) for value in values]))


def _each_member(convert: Convert | None) -> Convert | None:
    return convert and (lambda mapping: {name: convert(value) for name, value in mapping.items()})


def _kept(convert: Convert | None) -> Convert:
    """Return a reader whose mappings cannot be changed: a thing may be handed out twice."""
    return lambda mapping: MappingProxyType(convert(mapping) if convert else mapping)


def _object(cls: Any) -> tuple[Convert | None, Convert]:
    """Return how a frozen dataclass becomes an object of its fields and comes back."""
    hints = typing.get_type_hints(cls)
    codecs = [(field.name, *_codec(hints[field.name])) for field in fields(cls)]
    reads = [(name, read) for name, _, read in codecs if read]

    def write(thing: Any) -> dict[str, Any]:
        return {name: convert(getattr(thing, name)) if convert else getattr(thing, name) for name, convert, _ in codecs}

    def read(members: dict[str, Any]) -> Any:
        for name, convert in reads:
            if name in members:
                members[name] = convert(members[name])
        return cls(**members)

    # msgspec writes a dataclass by itself, and faster, unless there may be a decimal in it.
    return (write if any(convert for _, convert, _ in codecs) else None), read


def _text(hint: Any) -> tuple[Convert, Convert]:
    """Return how a nested value becomes the JSON text of its column and comes back."""
    write, read = _codec(hint)
    convert: Convert = read or (lambda value: value)

    def to_text(value: Any) -> str:
        return _encode(write(value) if write else value).decode()

    def from_text(text: str) -> Any:
        return convert(_decode(text))

    @lru_cache(MEMO)
    def once_from_text(text: str) -> Any:
        value = from_text(text)
        hash(value)  # what can be hashed cannot change: safe to hand out twice
        return value

    return to_text, once_from_text if typing.get_origin(hint) is tuple else from_text


def _column(hint: Any) -> tuple[Convert | None, Convert | None]:
    """Return how a field becomes its column and comes back. None: as it is."""
    members = set(_members(hint))
    if members == {bool}:
        return int, bool
    if members <= {str, int, types.NoneType}:
        return None, None
    if members == {datetime}:
        return from_moment, to_moment
    if members == {datetime, types.NoneType}:
        return _unless_none(from_moment), _unless_none(to_moment)
    write, read = _text(hint)
    return write, _unless_none(read)  # NULL: the row is older than its column


def quoted(column: str) -> str:
    return f'"{column}"'  # `when` and `grant` are words of SQL


class Table(Generic[T]):
    """The table of a noun: its name and columns, and the way from a thing to a row and back."""

    def __init__(self, noun: type[T], name: str) -> None:
        hints = typing.get_type_hints(noun)
        columns = [(field.name, *_column(hints[field.name])) for field in fields(noun)]
        self.noun, self.name = noun, name
        self.columns = tuple(column for column, _, _ in columns)
        self.numbers = frozenset(name for name in self.columns if NUMBERS & set(_members(hints[name])))  # else text
        self.select = f"SELECT {', '.join(map(quoted, self.columns))} FROM {name}"  # every read names its columns
        self.by_id = f"{self.select} WHERE org = ? AND id = ?"
        self._writes = tuple((column, write) for column, write, _ in columns)
        self._reads = tuple((at, read) for at, (_, _, read) in enumerate(columns) if read)
        self._made: dict[tuple[Any, ...], T] = {}

    def row(self, thing: T) -> list[Any]:
        return [write(getattr(thing, name)) if write else getattr(thing, name) for name, write in self._writes]

    def thing(self, row: tuple[Any, ...]) -> T:
        """Return the thing that a row is. Equal rows are one thing: each call of a task reads its row several times."""
        if (made := self._made.get(row)) is None:
            values = list(row)
            for at, read in self._reads:
                values[at] = read(values[at])
            made = self.noun(*values)
            if self.noun in READ_OFTEN:
                if len(self._made) >= MEMO:
                    del self._made[next(iter(self._made))]
                self._made[row] = made
        return made


TABLES: Mapping[type[Any], Table[Any]] = {
    noun: Table(noun, name)
    for noun, name in (
        (Registration, "identities"),
        (Task, "tasks"),
        (Lease, "leases"),
        (Call, "calls"),
        (Finding, "findings"),
    )
}
_BODIES = {noun: _object(noun)[0] for noun in TABLES}


def body(event: Event) -> bytes:
    """Return the event's body: what the header commits to and may be erased. Moments stand in it as RFC 3339."""
    write = _BODIES.get(type(event.value))
    return _encode(
        {
            "value": write(event.value) if write else event.value,
            "detail": event.detail,
            "spent": event.spent,
            "shared": event.shared,
            "via": event.via,
        }
    )
