"""A SLURM cluster with one node on this machine, for the duration of these tests."""

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
START_S = 30.0

# No accounting, no cgroups, one core per job; requeued jobs start after 5 s instead of 120 s.
CONFIG = """\
ClusterName=dive
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
JobRequeue=1
KillWait=10
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def unavailable_reason() -> str:
    """Why a cluster cannot be started; empty if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "SLURM daemons must run as root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge)" if absent else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster, yield its environment variables, and stop it.

    Args:
        folder: empty directory for configuration, state and logs. Its path must be short: it holds sockets.

    Raises:
        RuntimeError: it does not start; the message includes the last output of the daemons.
    """
    folder.chmod(0o711)  # munged requires that every user can reach its socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    ctld_port, slurmd_port = _free_ports()
    (folder / "slurm.conf").write_text(
        CONFIG.format(
            host=platform.node().partition(".")[0],
            folder=folder,
            ctld_port=ctld_port,
            slurmd_port=slurmd_port,
            cores=os.cpu_count(),
            memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10 // 2**20,
        )
    )
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{what}-file={folder}/munged.{what}" for what in ("pid", "log", "seed")]
    with ExitStack() as stack:
        for command in (
            ["munged", "--foreground", f"--key-file={key}", f"--socket={folder}/munge.socket", *munge],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D"],
        ):
            stack.enter_context(_daemon(command, folder, environment))
        _wait_until_idle(folder, environment)
        yield environment
        # Jobs left by a failed test would otherwise outlive the daemons.
        subprocess.run(["scancel", "--user=root"], env=os.environ | environment, check=True)
        _wait_until_idle(folder, environment)


@contextmanager
def _daemon(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("w") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        status = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=os.environ | environment, capture_output=True, text=True
        )
        if status.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    last = [f"{log.name}: {log.read_text()[-500:]}" for log in sorted(folder.glob("*.out"))]
    raise RuntimeError("SLURM did not start\n" + "\n".join(last))


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[None]:
    """Run all tests with the environment variables of a cluster."""
    if reason := unavailable_reason():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, cluster(Path(folder)) as environment:
        os.environ |= environment
        yield
