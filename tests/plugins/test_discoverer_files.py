"""Files are walked and read, and nothing that lies there stops it."""

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from taskbound.plugins.discoverers import files as module
from taskbound.plugins.discoverers.files import BATCH_FILES, Files, Root, archives, reading, streams, workers
from taskbound.plugins.discoverers.files.streams import OVERLAP, WHOLE, windows
from taskbound.plugins.discoverers.files.walk import File, files_below
from taskbound.posture.seen import Seen
from taskbound.posture.sighting import Credential
from tests.cli.nobody import as_nobody, let_through
from tests.posture.standin import begin, standing_in

KEY = b"k" * 32
TOKEN = "tok_aaaa1111"


@pytest.fixture(autouse=True)
def _standing_in():
    with standing_in():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


def look(*roots: Root | Path, **more) -> Seen:
    """Look with the processes that there are for it."""
    return _joined(Files([one if isinstance(one, Root) else Root(one) for one in roots], begin, KEY, **more).discover())


def look_here(*roots: Root | Path, **more) -> Seen:
    """Look without another process, so that what a test has set counts."""
    files = Files([one if isinstance(one, Root) else Root(one) for one in roots], begin, KEY, **more)
    shares = [share for batch in files._batches() for share in batch]
    placed = sorted(one for share in shares for one in share.files)
    seen = [one for _, one in reading.look_into(placed, begin(KEY))]
    about = files._repositories
    return _joined([*seen, Seen(unread=tuple(about.unread), repositories=tuple(about.names), known=files._known)])


def _joined(seen: Iterable[Seen]) -> Seen:
    parts = list(seen)
    return Seen(
        sightings=tuple(one for part in parts for one in part.sightings),
        unread=tuple(one for part in parts for one in part.unread),
        repositories=parts[-1].repositories,
        files=sum(part.files for part in parts),
        skipped=sum(part.skipped for part in parts),
        size=sum(part.size for part in parts),
        known=parts[-1].known,
    )


def places(seen: Seen) -> list[tuple[str, int]]:
    return [(one.place.path, one.place.line) for one in seen.sightings if isinstance(one, Credential)]


def unread(seen: Seen) -> dict[str, str]:
    return {one.path: one.why for one in seen.unread}


def put(file: Path, text: str | bytes = TOKEN) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


# --- the walk --------------------------------------------------------------------------------------


def test_files_are_seen_in_the_order_of_their_names_with_their_lines(root):
    for name in ("b/2.txt", "b/1.txt", "a.txt"):
        put(root / name, f"\n{TOKEN}\n")
    assert places(look_here(root)) == [("a.txt", 2), ("b/1.txt", 2), ("b/2.txt", 2)]
    assert look_here(root).files == 3


def test_what_is_never_looked_into(root):
    put(root / "venv/pyvenv.cfg")
    for name in (".git/config", "node_modules/x.js", "venv/lib/x.py", "a/__pycache__/x.txt", "kept.txt"):
        put(root / name)
    assert places(look_here(root)) == [("kept.txt", 1)]


def test_a_folder_that_was_named_is_looked_into_whatever_it_is_called(root):
    put(root / "node_modules/x.js")
    assert places(look_here(root / "node_modules")) == [("x.js", 1)]


def test_nothing_is_followed_out_of_what_was_named_and_no_loop_is_run_in(root, tmp_path):
    put(tmp_path / "elsewhere/secret.txt")
    put(root / "a/real.txt")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "out.txt").symlink_to(tmp_path / "elsewhere/secret.txt")
    (root / "a/loop").symlink_to(root)
    (root / "a/self").symlink_to("self")
    (root / "a/again.txt").symlink_to(root / "a/real.txt")
    seen = look_here(root)
    assert places(seen) == [("a/real.txt", 1)]
    assert unread(seen) == dict.fromkeys(("out", "out.txt"), "it leads out of what was named")


def test_a_link_that_was_named_is_followed(root, tmp_path):
    put(root / "x.txt")
    (tmp_path / "link").symlink_to(root)
    assert places(look_here(tmp_path / "link")) == [("x.txt", 1)]


def test_what_is_no_regular_file_is_named_and_not_opened(root):
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(root / "door"))
        put(root / "x.txt")
        seen = look_here(root, root / "pipe", Path("/dev/zero"))
    assert len(places(seen)) == 1
    assert (
        unread(seen)[str(root / "pipe")] == unread(seen)["door"] == unread(seen)["/dev/zero"] == "it is no regular file"
    )


def test_what_becomes_a_pipe_after_the_walk_blocks_nobody(root, monkeypatch):
    file = put(root / "x.txt")
    walk = files_below

    def late(*words) -> Iterator[File]:
        for one in walk(*words):
            file.unlink()
            os.mkfifo(file)
            yield one

    monkeypatch.setattr(module, "files_below", late)
    assert unread(look_here(root)) == {"x.txt": "it is no regular file"}


def test_what_vanishes_and_what_nobody_may_read_is_named(root, monkeypatch):
    put(root / "gone.txt")
    shut, folder = put(root / "shut.txt"), put(root / "folder/x.txt").parent
    put(root / "z.txt")
    walk = files_below

    def late(*words) -> Iterator[File]:
        for one in walk(*words):
            (root / "gone.txt").unlink(missing_ok=True)
            yield one

    monkeypatch.setattr(module, "files_below", late)
    let_through(root)
    shut.chmod(0)
    folder.chmod(0)
    root.chmod(0o777)
    assert as_nobody(lambda: _written(look_here(root), root)) == 0
    assert (root / "told").read_text().splitlines() == [
        "[('z.txt', 1)]",
        "{'gone.txt': 'it is not there', 'shut.txt': 'permission denied', 'folder': 'permission denied'}",
    ]


def _written(seen: Seen, root: Path) -> int:
    (root / "told").write_text(f"{places(seen)}\n{unread(seen)}\n")
    return 0


def test_names_of_any_bytes_are_shown_as_text(root):
    put(Path(os.fsdecode(os.fsencode(root) + b"/\xff\n.txt")))
    ((path, _),) = places(look_here(root))
    assert path == "\\xff\n.txt" and path.encode()


def test_what_the_command_itself_writes_is_left_out(root):
    put(root / "report.json")
    put(root / "x.txt")
    assert places(look_here(root, but=[root / "report.json"])) == [("x.txt", 1)]


def test_each_place_is_looked_at_once_as_what_names_it_most_closely(root):
    put(root / "lists/x.txt")
    put(root / "y.txt")
    seen = look_here(Root(root), Root(root / "lists", "L"), Root(root / "y.txt", "Y"), Root(root, "again"))
    assert places(seen) == [("L/x.txt", 1), ("Y", 1)]


# --- repositories ----------------------------------------------------------------------------------


def repositories(*roots: Path) -> dict[str, str]:
    seen = look(*roots)
    return {one.place.path: one.holder.repository for one in seen.sightings if isinstance(one, Credential)}


def test_the_nearest_folder_with_git_is_the_repository(root):
    put(root / "repos/api/.git/config")
    put(root / "repos/api/x/y.txt")
    put(root / "repos/api/vendor/lib/.git")  # of a submodule it is a file
    put(root / "repos/api/vendor/lib/z.txt")
    assert repositories(root) == {
        "repos/api/x/y.txt": "api", "repos/api/vendor/lib/z.txt": "lib", "repos/api/vendor/lib/.git": "lib",
    }  # fmt: skip
    assert repositories(root / "repos/api/x") == {"y.txt": "api"}
    assert list(repositories(root / "repos/api/x/y.txt").values()) == ["api"]


def test_without_git_it_is_the_folder_below_a_collection(root):
    put(root / "repos/api/x/y.txt")
    put(root / "repos/web/y.txt")
    put(root / "lists/y.txt")
    assert repositories(root) == {"repos/api/x/y.txt": "api", "repos/web/y.txt": "web", "lists/y.txt": "top"}
    assert repositories(root / "repos") == {"api/x/y.txt": "api", "web/y.txt": "web"}
    assert repositories(root / "repos/api/x") == {"y.txt": "api"}


def test_a_folder_of_nothing_but_folders_is_one_of_repositories(root):
    put(root / "api/x/y.txt")
    put(root / "web/y.txt")
    assert repositories(root) == {"api/x/y.txt": "api", "web/y.txt": "web"}


def test_of_a_folder_with_files_of_its_own_it_is_that_folder(root):
    put(root / "README.md")
    put(root / "a/x.txt")
    assert set(repositories(root).values()) == {"top"}


def test_two_repositories_of_one_name_stay_two(root):
    for name in ("one/api", "two/api"):
        put(root / name / ".git/config")
        put(root / name / "x.txt")
    assert repositories(root) == {"one/api/x.txt": "api", "two/api/x.txt": "two/api"}


# --- what is in a file -----------------------------------------------------------------------------


def test_what_is_no_text_is_counted_and_not_read(root):
    put(root / "x.bin", b"\x00" + TOKEN.encode())
    seen = look_here(root)
    assert (places(seen), seen.skipped, seen.files, unread(seen)) == ([], 1, 0, {})


def test_utf_16_is_text(root):
    put(root / "x.txt", f"one\r\n{TOKEN}\r\n".encode("utf-16"))
    put(root / "y.txt", ("x" * (WHOLE // 2) + f"\n{TOKEN}\n").encode("utf-16-be").join((b"\xfe\xff", b"")))
    assert places(look_here(root)) == [("x.txt", 2), ("y.txt", 2)]


def test_a_large_file_is_read_in_windows_and_each_credential_found_once(root):
    lines = [f"{'x' * 90} {number}" for number in range(3 * WHOLE // 90)]
    for number in range(0, len(lines), 997):
        lines[number] = f"tok_{number:08d}"
    put(root / "big.log", "\n".join(lines))
    assert places(look_here(root)) == [("big.log", number + 1) for number in range(0, len(lines), 997)]


def test_windows_of_one_endless_line_overlap():
    data = b"".join(b"%010d" % number for number in range(WHOLE // 4))
    seen = list(windows(io.BytesIO(data), WHOLE))
    assert [whole for _, _, whole in seen] == [False] * len(seen) and {lines for _, lines, _ in seen} == {0}
    for (one, _, _), (other, _, _) in pairwise(seen):
        assert one.endswith(other[:OVERLAP]) and len(one) <= 3 * WHOLE
    assert len(b"".join([seen[0][0], *(part[OVERLAP:] for part, _, _ in seen[1:])])) == len(data)


def test_windows_say_where_their_lines_are():
    data = b"".join(b"%07d\n" % number for number in range(WHOLE // 3))
    for part, lines, _ in windows(io.BytesIO(data), WHOLE):
        assert int(part[:7]) == lines and (part.endswith(b"\n"))


def test_a_file_that_grows_ends_where_it_ended(root, monkeypatch):
    file = put(root / "x.log", f"{TOKEN}\n")
    real = os.fstat

    def grow(number: int) -> os.stat_result:
        about = real(number)
        with file.open("a") as more:
            more.write("tok_bbbb2222\n" * 1000)
        return about

    monkeypatch.setattr(os, "fstat", grow)
    assert places(look_here(root)) == [("x.log", 1)]


# --- archives --------------------------------------------------------------------------------------


def tarred(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return made.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


def test_archives_are_looked_into_and_a_packed_log_has_its_own_lines(root):
    put(root / "a.log.gz", gzip.compress(f"\n\n{TOKEN}\n".encode()))
    put(root / "b.tgz", tarred({"in/x.txt": TOKEN.encode(), "x.bin": b"\x00"}, "w:gz"))
    put(root / "c.zip", zipped(("in/x.txt", TOKEN.encode()), ("in.zip", zipped(("y.txt", TOKEN.encode())))))
    put(root / "d.tar", tarred({"e.txt": TOKEN.encode()}))
    seen = look_here(root)
    assert places(seen) == [
        ("a.log.gz", 3), ("b.tgz!/in/x.txt", 1), ("c.zip!/in/x.txt", 1), ("c.zip!/in.zip!/y.txt", 1),
        ("d.tar!/e.txt", 1),
    ]  # fmt: skip
    assert unread(seen) == {}


def test_a_bomb_costs_what_its_bounds_say(root, monkeypatch):
    monkeypatch.setattr(streams, "FREE", 1 << 20)
    monkeypatch.setattr(streams, "RATIO", 10)
    bomb = zipped(*((f"{number}.txt", b"x" * (8 << 20)) for number in range(4)))
    put(root / "bomb.zip", bomb)
    put(root / "bomb.gz", gzip.compress(b"y" * (64 << 20)))
    put(root / "z.txt")
    seen = look_here(root)
    assert unread(seen) == dict.fromkeys(("bomb.zip", "bomb.gz"), "it unpacks to more than is looked at")
    assert seen.size < 4 * WHOLE and len(places(seen)) == 1


def test_archives_in_one_another_end(root):
    data = TOKEN.encode()
    for _ in range(6):
        data = zipped(("x.zip", data))
    put(root / "x.zip", data)
    ((path, why),) = unread(look_here(root)).items()
    assert path.count("!/") == 3 and "levels deep" in why


def test_of_many_members_some_are_looked_at(root, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS", 3)
    put(root / "x.zip", zipped(*((f"{number}", TOKEN.encode()) for number in range(9))))
    put(root / "x.tar", tarred({f"{number}": TOKEN.encode() for number in range(9)}))
    seen = look_here(root)
    assert (len(places(seen)), set(unread(seen).values())) == (6, {"of its files 3 were looked at"})


@pytest.mark.parametrize("name", ["x.gz", "x.zip", "x.tgz", "x.tar"])
def test_a_truncated_archive_is_named(root, name):
    noise = os.urandom(50_000).hex().encode()
    packed = {"x.gz": gzip.compress(noise), "x.zip": zipped(("a.txt", noise)), "x.tgz": tarred({"a": noise}, "w:gz"),
              "x.tar": tarred({"a": noise})}[name]  # fmt: skip
    put(root / name, packed[: len(packed) // 2])
    put(root / "z.txt")
    seen = look_here(root)
    assert list(unread(seen)) == [name] and ("z.txt", 1) in places(seen)


def test_a_broken_member_of_a_zip_file_hides_none_of_the_others(root):
    packed = bytearray(zipped(("a.txt", b"hello"), ("b.txt", TOKEN.encode())))
    packed[14] ^= 1  # of the first one's checksum
    packed[packed.index(b"PK\x01\x02") + 16] ^= 1
    put(root / "x.zip", bytes(packed))
    seen = look_here(root)
    assert places(seen) == [("x.zip!/b.txt", 1)]
    assert unread(seen) == {"x.zip!/a.txt": "it cannot be unpacked to its end (BadZipFile)"}


def test_what_is_not_unpacked_or_encrypted_is_named(root):
    put(root / "x.xz", b"\xfd7zXZ\x00" + b"\x00" * 40)
    secret = bytearray(zipped(("a.txt", b"x"), ("b.txt", TOKEN.encode())))
    place = secret.index(b"PK\x01\x02")
    secret[6] |= 1
    secret[place + 8] |= 1
    put(root / "y.zip", bytes(secret))
    seen = look_here(root)
    assert unread(seen) == {"x.xz": "xz is not unpacked", "y.zip!/a.txt": "it is encrypted"}
    assert places(seen) == [("y.zip!/b.txt", 1)]


# --- what the scan itself runs into ----------------------------------------------------------------


def test_what_raises_says_its_kind_and_never_its_text(root):
    put(root / "a.txt", f"RAISE {TOKEN}")
    put(root / "z.txt")
    seen = look_here(root)
    assert unread(seen) == {"a.txt": "reading it failed (ValueError)"} and places(seen) == [("z.txt", 1)]


def test_what_takes_longer_than_it_may_is_ended(root, monkeypatch):
    monkeypatch.setattr(reading, "PATIENCE", 0.2)
    put(root / "a.txt", "HANG")
    put(root / "z.txt")
    before = signal.getsignal(signal.SIGALRM)
    seen = look_here(root)
    assert unread(seen) == {"a.txt": "reading it failed (TooSlow)"} and len(places(seen)) == 1
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_archive_of_members_that_each_take_long_ends(root, monkeypatch):
    monkeypatch.setattr(streams, "UNPACKING", 0.2)
    monkeypatch.setattr(reading, "PATIENCE", 0.1)
    monkeypatch.setattr(reading, "PER_MIB", 0.0)
    members = [(f"{number:02}.conf", b"sleep=1\n") for number in range(40)]
    put(root / "x.zip", zipped(*members))
    put(root / "x.tar", tarred(dict(members)))
    put(root / "z.txt")
    seen = look_here(root)
    assert places(seen) == [("z.txt", 1)] and len(seen.unread) < 20
    assert unread(seen)["x.zip"] == unread(seen)["x.tar"] == "what is in it takes longer than 0 s"


def test_outside_of_the_main_thread_there_is_no_alarm(root):
    put(root / "z.txt")
    told: list[Seen] = []
    thread = threading.Thread(target=lambda: told.append(look_here(root)))
    thread.start()
    thread.join()
    assert places(told[0]) == [("z.txt", 1)]


def many(root: Path) -> list[tuple[str, int]]:
    names = [f"d{number // 50:02d}/f{number:04d}.txt" for number in range(5 * BATCH_FILES)]
    for number, name in enumerate(names):
        put(root / name, f"tok_{number:08d}")
    return [(name, 1) for name in names]


def test_processes_change_neither_what_is_seen_nor_its_order(root):
    expected = many(root)
    seen = look(root)
    assert (places(seen), seen.files, seen.known, unread(seen)) == (expected, len(expected), len(expected), {})


def test_a_file_that_ends_its_process_is_named_and_the_others_are_read(root):
    expected = many(root)
    put(root / "d00/f0000.txt", "SLOW tok_00000000")  # what dies is not what is next to be yielded
    for name in ("d01/f0077.txt", "d04/f0222.txt"):
        put(root / name, "END ME")
        expected.remove((name, 1))
    seen = look(root)
    assert unread(seen) == dict.fromkeys(("d01/f0077.txt", "d04/f0222.txt"), "it ended the process that read it")
    assert places(seen) == expected


def test_also_a_single_file_is_read_in_a_process_of_its_own(root):
    put(root / "a.txt", "END ME")
    put(root / "z.txt")
    seen = look(root)
    assert unread(seen) == {"a.txt": "it ended the process that read it"} and places(seen) == [("z.txt", 1)]


ASKING = """
import multiprocessing, sys, time
from pathlib import Path
from taskbound.plugins.discoverers.files import Files, Root
from tests.posture.standin import begin
parts = Files([Root(Path(sys.argv[1]))], begin, b"k" * 32).discover()
next(parts)
print(*(one.pid for one in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


def test_processes_end_with_who_asked(root):
    many(root)
    command = [sys.executable, "-c", ASKING, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        started = [int(one) for one in asking.stdout.readline().split()]
        asking.kill()
    until = time.monotonic() + 10
    while any(_runs(one) for one in started) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(started) == 2 and not any(_runs(one) for one in started)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_is_stuck_is_ended(root, monkeypatch):
    expected = many(root)
    monkeypatch.setattr(workers, "STUCK", 1.0)
    put(root / "d00/f0003.txt", "HANG")
    expected.remove(("d00/f0003.txt", 1))
    seen = look(root)
    assert unread(seen) == {"d00/f0003.txt": "it ended the process that read it"} and places(seen) == expected


def test_who_stops_early_leaves_no_process(root):
    many(root)
    import multiprocessing

    parts = Files([Root(root)], begin, KEY).discover()
    next(parts)
    assert len(multiprocessing.active_children()) == 2
    parts.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
