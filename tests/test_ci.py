"""What CI runs does not hang for ever."""

import os
import signal
import subprocess
import time
from pathlib import Path

RUN = Path(__file__).parents[1] / ".ci/run"
MAKE = """#!/bin/sh
trap '' TERM
sleep 60 &
echo $! > "$0.pid"
wait
"""


def test_a_run_that_hangs_is_stopped_after_twenty_minutes(tmp_path: Path) -> None:
    """With a shorter time, in which a busy machine comes as far as make, and a make that hangs and does not listen."""
    text = RUN.read_text()
    assert text.count("timeout --signal=KILL 20m") == 1
    (tmp_path / ".ci").mkdir()
    copy = tmp_path / ".ci/run"
    copy.write_text(text.replace("20m", "3s"))
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "chromium").write_text("")  # nothing is missing, so that nothing is installed
    for file in (copy, tmp_path / "make", tmp_path / "chromium"):
        file.chmod(0o700)
    ours = {name: value for name, value in os.environ.items() if name != "WITHIN"}
    began = time.monotonic()
    ran = subprocess.run([copy], env=ours | {"PATH": f"{tmp_path}:{ours['PATH']}"}, timeout=15, check=False)
    assert ran.returncode == -signal.SIGKILL and time.monotonic() - began < 10
    left = Path(f"/proc/{(tmp_path / 'make.pid').read_text().strip()}/stat")
    assert not left.exists() or left.read_text().rpartition(")")[2].split()[0] == "Z"
