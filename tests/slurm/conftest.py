"""A SLURM cluster of one node on this machine, for as long as these tests need it."""

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

# No accounting, no cgroups, jobs of one core each, and those requeued start after 5 s in place of 120.
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


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "SLURM's daemons start as root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge)" if absent else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster, yield the environment that finds it, and stop it.

    Args:
        folder: new or empty; for its configuration, state and logs. Its path must be short: sockets go into it.

    Raises:
        RuntimeError: it does not start; the message holds the daemons' last words.
    """
    folder.chmod(0o711)  # munged wants every user to reach its socket
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
        # Else jobs that a failed test has left would outlive the daemons.
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
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=os.environ | environment, capture_output=True, text=True
        )
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    last = [f"{log.name}: {log.read_text()[-500:]}" for log in sorted(folder.glob("*.out"))]
    raise RuntimeError("SLURM did not start\n" + "\n".join(last))


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[None]:
    """The cluster, found by every command that the tests start."""
    if why := missing():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, cluster(Path(folder)) as environment:
        os.environ |= environment
        yield
