"""The environment: TensorBoard's sockets, and the lock file."""

import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1 and ::1, as in /proc

Outcome = Callable[[str], None]


def listening(group: int) -> set[str]:
    """The addresses on which the processes of a group listen, as in /proc."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) != group:
                continue
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:  # the process has just ended or closed a file
            continue
        inodes |= {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    rows = [
        row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
@pytest.mark.fault(26, "TensorBoard is started", "`make tensorboard`; its sockets as listed by the kernel")
def test_tensorboard_listens_on_localhost_only(outcome: Outcome, tmp_path: Path) -> None:
    command = ["make", "-f", ROOT / "Makefile", "tensorboard", f"BIN={Path(sys.executable).parent}", "INSTALLED="]
    board = subprocess.Popen(
        [*command, "ARGS=--port 0"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not (addresses := listening(board.pid)) and time.monotonic() < deadline:
            assert board.poll() is None
            time.sleep(0.1)
        assert addresses
        assert addresses <= LOOPBACK
    finally:
        subprocess.run(["kill", "-TERM", "--", f"-{board.pid}"], check=False)
        try:
            board.wait(30)
        finally:
            subprocess.run(["kill", f"-{signal.SIGKILL.value}", "--", f"-{board.pid}"], check=False, stderr=-3)
    assert not listening(board.pid)
    outcome("listens on 127.0.0.1 only, and exits when `make` is stopped")


def lock_faults(lock: str, requirements: list[str]) -> list[str]:
    """Why `pip install --require-hashes` would reject a lock file, or install something else."""
    blocks = re.split(r"(?m)^(?=[^\s#])", lock.replace("\\\n", " "))
    entries = [block.split("#")[0].strip() for block in blocks if block.strip() and not block.startswith("#")]
    pinned = {
        match[1] for entry in entries if (match := re.match(r"([a-z0-9._-]+)(?:\[[^]]*\])?==[\w.+!-]+ ", entry))
    }
    faults = [
        f"{entry[:40]}: not pinned"
        for entry in entries
        if not re.match(r"[a-z0-9._-]+(\[[^]]*\])?==[\w.+!-]+ ", entry)
    ]
    faults += [
        f"{entry[:40]}: no hash" for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)
    ]
    required = [re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in requirements]
    return faults + [f"{name}: not in the lock" for name in required if name not in pinned]


@pytest.mark.fault(27, "lock file without a hash, pin or package", "one hash, one pin, one package removed")
def test_lock_file_pins_everything_with_hashes(outcome: Outcome) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = [*extras.pop("export"), *extras.pop("loggers")]  # in a lock file of their own
    assert lock_faults((ROOT / "requirements-extras.lock").read_text(), optional) == []
    requirements = [*project["dependencies"], *(word for extra in extras.values() for word in extra)]
    lock = (ROOT / "requirements.lock").read_text()
    assert lock_faults(lock, requirements) == []
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text()

    block = re.search(r"(?ms)^typeguard==.*?(?=^\S|\Z)", lock)
    assert block is not None
    head = block[0].splitlines()[0].rstrip("\\ ")
    assert lock_faults(lock.replace(block[0], head + "\n"), requirements) != []
    assert lock_faults(lock.replace("typeguard==", "typeguard>="), requirements) != []
    assert lock_faults(lock.replace(block[0], ""), requirements) == ["typeguard: not in the lock"]
    outcome("detected; the lock file has a version and a hash for each package, including the extras")
