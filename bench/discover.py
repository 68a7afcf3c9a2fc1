"""What looking for credentials costs (issue 4): a second of start, a checkout of 5,000 files, half a gigabyte.

The text is real: Python's library, the packages beside it, and the folders of DISCOVER_FROM (with ":" between), each
text once where nothing of it stands in another one. Half a gigabyte of it is COPIES of that, with a credential in
each million bytes, all of which have to be found. CPU is user and system time of all processes; where other work uses
the machine, the rate that two free cores would give is read from that.
"""

import json
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from time import perf_counter, sleep
from zlib import crc32

from bench.figures import Figure
from taskbound.posture.harmless import is_docstring

SIZE, FILES = 500_000_000, 5000
COPIES = 8  # of one text, at most: nothing larger than 4 KiB stands there more often
LARGEST, BLOCK = 2 << 20, 2048  # bytes of a text; of what is compared
# What a line more breaks nothing of; not in tests, of which credentials that are made up are not counted.
PLANTED_IN = (".py", ".txt", ".rst", ".pyi", ".c", ".h")
RATE, WHOLE, FIRST, START, MEMORY = 0.25, 10.0, 2.0, 0.5, 400  # GB/s; seconds; MB
CORES = 2
COMMAND = [sys.executable, "-c", "import sys; from taskbound.cli import main; sys.exit(main())", "discover"]


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    wall: float
    cpu: float
    first: float  # seconds until it says the first thing
    memory: float  # MB, of all its processes at once, shared pages counted once
    said: bytes


def measure(size: int = SIZE, files: int = FILES) -> list[Figure]:
    """Build both sets, and look at them."""
    with tempfile.TemporaryDirectory(prefix="taskbound-bench-") as place:
        empty, checkout, large = (Path(place, name) for name in ("empty", "checkout", "large"))
        empty.mkdir()
        texts = list(_enough(size, files))
        for number, (name, data) in enumerate(texts[:files]):
            _put(checkout / f"r{number % 7}" / name, data)
        planted = build(large, texts, size)
        start, some, all_ = run(empty), run(checkout), run(large)
        told = json.loads(all_.said)
    seen = {(at["path"], at["line"]) for one in told["credentials"] for at in one["places"]}
    found = sum(one in seen for one in planted)
    counts = told["counts"]
    rate, free = (counts["bytes"] / 1e9 / took for took in (all_.wall, all_.cpu / CORES))
    about = f"{counts['bytes'] / 1e6:,.0f} MB, {counts['files']:,} files, {len(texts):,} different texts"
    few = f"{min(files, len(texts)):,} files, {sum(len(data) for _, data in texts[:files]) / 1e6:,.0f} MB"
    worst = max(some.memory, all_.memory)
    return [
        Figure("discover: an empty folder, wall / CPU", _times(start), "≤ 0.5 s", start.wall <= START),
        Figure(f"discover: {few}: first line", f"{some.first:.1f} s", "≤ 2 s", some.first <= FIRST),
        Figure(f"discover: {few}: whole, wall / CPU", _times(some), "≤ 10 s", some.wall <= WHOLE),
        Figure(f"discover: {about}, wall / CPU", _times(all_)),
        Figure("discover: the same, as it ran", f"{rate:.2f} GB/s", "≥ 0.25 GB/s", rate >= RATE),
        Figure(f"discover: the same, by its CPU on {CORES} free cores", f"{free:.2f} GB/s"),
        Figure("discover: planted and found", f"{found} of {len(planted)}", "all", found == len(planted)),
        Figure("discover: memory of all processes", f"{worst:.0f} MB", "≤ 400 MB", worst <= MEMORY),
    ]


def _times(one: Run) -> str:
    return f"{one.wall:.2f} / {one.cpu:.2f} s"


def run(folder: Path) -> Run:
    """Look at a folder, with nothing remembered from another run."""
    before, began, first, memory = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter(), 0.0, 0.0
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        command = [*COMMAND, str(folder), "--format", "json", "--as-of", "2026-11-01"]
        process = subprocess.Popen(command, stdout=said, stderr=told, env=os.environ | {"TASKBOUND_HOME": str(folder)})
        while process.poll() is None:
            memory = max(memory, _memory(process.pid))
            first = first or (perf_counter() - began if os.fstat(told.fileno()).st_size else 0.0)
            sleep(0.02)
        wall, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        said.seek(0)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(wall, cpu, first or wall, memory, said.read())


def _memory(process: int) -> float:
    """Return what a process and its children hold, in MB."""
    held = 0.0
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for one in (process, *children):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            held += next((int(line.split()[1]) / 1000 for line in lines if line.startswith("Pss:")), 0)
    except OSError:  # it has just ended
        return 0.0
    return held


# --- what is looked at -------------------------------------------------------------------------------


def build(place: Path, texts: list[tuple[Path, bytes]], size: int) -> list[tuple[str, int]]:
    """Write so many bytes of texts; return path and line of each credential that was put among them."""
    made, planted, chance = 0, list[tuple[str, int]](), random.Random(4)
    for copy in range(COPIES):
        for name, data in texts:
            if made >= size:
                return planted
            path, whole = Path(f"c{copy}") / name, data
            is_place = name.suffix in PLANTED_IN and "test" not in str(name).lower()
            while len(planted) * 1_000_000 <= made and is_place and len(whole) == len(data):
                lines = data.splitlines(keepends=True)
                line = chance.choice(_outside(lines))
                # Never on a line that goes on another one, where it would be another text.
                whole = b"".join([*lines[:line], b"\n", _credential(chance, len(planted)), b"\n\n", *lines[line:]])
                planted.append((str(path), sum(one.endswith(b"\n") for one in lines[:line]) + 2))
            _put(place / path, whole)
            made += len(whole)
    raise SystemExit(f"there are {made / 1e6:,.0f} MB of texts, {COPIES} times: name more folders in DISCOVER_FROM")


def _outside(lines: list[bytes]) -> list[int]:
    """Return before which lines no docstring is open: what stands in one is an example."""
    data = b"".join(lines)
    return [number for number, at in enumerate(accumulate(map(len, lines), initial=0)) if not is_docstring(data, at)]


def _enough(size: int, files: int) -> Iterator[tuple[Path, bytes]]:
    """Yield texts until there are so many files, and so many bytes in COPIES of them."""
    many = all_ = 0
    for name, data in _texts():
        yield name, data
        many, all_ = many + 1, all_ + len(data)
        if many >= files and all_ * COPIES > size * 1.6:  # of half a gigabyte each stands there five times, not eight
            return


def _put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _texts() -> Iterator[tuple[Path, bytes]]:
    """Yield texts by their paths, none of which has a block of another one."""
    known: set[int] = set()
    paths = sysconfig.get_paths()
    named = [Path(one) for one in os.environ.get("DISCOVER_FROM", "").split(":") if one]
    for number, top in enumerate((*named, Path(paths["stdlib"]), Path(paths["purelib"]))):
        for file in sorted(top.rglob("*")):
            within = file.relative_to(top)
            if {"site-packages", "__pycache__", "node_modules"} & set(within.parts) or not file.is_file():
                continue
            if file.is_symlink() or not 0 < file.stat().st_size <= LARGEST:
                continue
            data = file.read_bytes()
            blocks = set(_blocks(data))
            if b"\0" not in data and known.isdisjoint(blocks):
                known |= blocks
                yield Path(f"t{number}") / within, data


def _blocks(data: bytes) -> Iterator[int]:
    """Yield what is known of blocks that begin at certain lines, wherever those stand in a file."""
    lines = data.splitlines(keepends=True)
    for at, line in zip(accumulate((len(one) for one in lines), initial=0), lines, strict=False):
        if len(line) > 20 and crc32(line) % 16 == 0 and at + BLOCK <= len(data):
            yield hash(data[at : at + BLOCK])


def _credential(chance: random.Random, number: int) -> bytes:
    """Return a line with a credential of one kind after the other, each another value."""
    small, digits = "abcdefghijkmnpqrstuvwxyz", "23456789"
    word = "".join(chance.choices(small + small.upper() + digits, k=24)) + "7q"
    made = (
        f'DB_PASSWORD = "{word}"',
        f"postgres://app:{word}@db.{word[:4].lower()}.corp:5432/pay",
        f"api_token: {word}",
        f"sk-ant-api03-{''.join(chance.choices(small + digits, k=93))}AA",
        f"# {b64encode(f'postgres://app:{word}@db.corp:5432/pay'.encode()).decode()}",
    )
    return made[number % len(made)].encode()
