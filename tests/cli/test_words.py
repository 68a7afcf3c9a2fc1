"""What the command says when something is in its way: whose trouble it is, and no advice that does not help."""

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from taskbound.cli import main
from taskbound.cli.answer import _refuse
from taskbound.core.errors import StoreUnavailable, Unavailable, hint_of
from taskbound.edge.http import error_response
from tests.cli.nobody import as_nobody, let_through
from tests.cli.test_audit import COMMAND, place  # noqa: F401


def not_permitted(hint: str = "") -> Unavailable:
    try:
        try:
            raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise StoreUnavailable(f"it cannot be written: {error.strerror}", hint=hint) from error
    except Unavailable as made:
        return made


def test_where_a_mode_is_in_the_way_nobody_is_told_to_try_again(capsys):
    assert hint_of(not_permitted()) == "see whose it is, and its mode"
    assert hint_of(not_permitted("ask alice")) == "ask alice"
    assert hint_of(Unavailable("gone")) == "try again in a moment"
    assert json.loads(bytes(error_response(not_permitted(), "r1").body))["hint"] == "see whose it is, and its mode"
    assert _refuse(not_permitted(), "otherwise", as_json=False) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "hint: see whose it is, and its mode"


def test_an_export_that_cannot_be_read_is_not_one_that_was_tampered_with(place, capfd):  # noqa: F811
    export = place.export()
    assert place.run("verify", export) == 0  # and everything is imported
    let_through(place.root)
    export.chmod(0o755)
    (export / "checkpoint").chmod(0o600)
    capfd.readouterr()
    assert as_nobody(lambda: main(["audit", "verify", str(export)])) == 1
    told = capfd.readouterr()
    assert told.err.startswith(
        f"{export}/checkpoint: Permission denied (not_possible)\nhint: {export}/checkpoint belongs"
    )
    assert as_nobody(lambda: main(["audit", "verify", str(export), "--json"])) == 1
    assert json.loads(capfd.readouterr().out)["error"] == "not_possible"


def test_who_reads_the_first_events_and_leaves_gets_no_traceback(place):  # noqa: F811
    place.record(3000)
    words = f"{COMMAND} audit tail --state {place.state} --checkpoints {place.second}"
    script = f"({words}; echo $? >&3) 3>{place.root}/status | head -n 1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
    assert Path(place.root / "status").read_text() == "141\n"


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_what_is_said_arrives_whole_where_a_signal_cuts_a_write(unbuffered, monkeypatch):
    """As after Ctrl-Z and fg. Python forgets the rest of it where it writes unbuffered, as in many images."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    words = "from taskbound.cli.answer import answered; answered(lambda words: print('x' * 240_000) or 0, [])"
    saying = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE)
    assert saying.stdout is not None
    while int.from_bytes(fcntl.ioctl(saying.stdout, termios.FIONREAD, bytes(4)), sys.byteorder) < 1 << 16:
        time.sleep(0.01)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        saying.send_signal(number)
        time.sleep(0.1)
    said, _ = saying.communicate(timeout=60)
    assert (len(said), saying.returncode) == (240_001, 0)
