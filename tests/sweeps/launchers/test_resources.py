"""How a machine is divided among jobs."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from dive.errors import ConfigError
from dive.sweeps.launchers import resources
from dive.sweeps.launchers.resources import ResourceShare, allocate, visible_gpus


def fake_machine(monkeypatch: pytest.MonkeyPatch, cores: int, gpus: tuple[str, ...] = ()) -> None:
    """Replace the detected cores and GPUs; do not limit the threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(resources, "available_cpus", lambda: cores)
    monkeypatch.setattr(resources, "visible_gpus", lambda: gpus)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (1, ResourceShare(1, 8)),
        (2, ResourceShare(2, 4)),
        (3, ResourceShare(3, 2)),
        (8, ResourceShare(8, 1)),
        (20, ResourceShare(20, 1)),
    ],
)
def test_cores_are_divided_among_workers(
    workers: int, expected: ResourceShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_machine(monkeypatch, cores=8)
    assert allocate(workers, ["cpu"]) == expected


@pytest.mark.parametrize(("limit", "threads"), [("1", 1), ("3", 3), ("16", 8), ("0", 1), ("", 8), ("4,2", 8)])
def test_omp_num_threads_limits_the_threads(limit: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_machine(monkeypatch, cores=8)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert allocate(1, ["cpu"]) == ResourceShare(1, threads)


def test_default_without_gpus_is_one_job_per_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_machine(monkeypatch, cores=6)
    assert allocate(None, ["auto", "cpu"]) == ResourceShare(6, 1)


def test_default_with_gpus_is_one_job_per_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_machine(monkeypatch, cores=8, gpus=("0", "1"))
    assert allocate(None, ["auto"]) == ResourceShare(2, 4, ("0", "1"))
    assert allocate(None, ["cpu", "gpu"]) == ResourceShare(2, 4, ("0", "1"))
    assert allocate(None, [None]) == ResourceShare(2, 4, ("0", "1"))


def test_cpu_jobs_use_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_machine(monkeypatch, cores=8, gpus=("0", "1"))
    assert allocate(None, ["cpu", "cpu"]) == ResourceShare(8, 1)


def test_more_workers_than_gpus_share_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_machine(monkeypatch, cores=8, gpus=("0", "1"))
    assert allocate(4, ["gpu"]) == ResourceShare(4, 2, ("0", "1"))


def test_only_cores_available_to_this_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 7}, raising=False)
    assert resources.available_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert resources.available_cpus() == os.cpu_count()


@pytest.mark.parametrize(
    ("named", "expected"),
    [("", ()), ("3", ("3",)), ("0,2", ("0", "2")), ("GPU-8f3a,MIG-1b", ("GPU-8f3a", "MIG-1b")), (" ", ())],
)
def test_gpus_are_read_from_cuda_visible_devices(
    named: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["GPU 0: NVIDIA H200 (UUID: GPU-1)", "GPU 1: NVIDIA H200 (UUID: GPU-2)"], 2),
        (["GPU 0: NVIDIA H200 (UUID: GPU-1)"], 1),
        (["NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver."], 0),
    ],
)
def test_gpus_are_listed_by_nvidia_smi(
    lines: Sequence[str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    script = "\n".join(f"echo '{line}'" for line in lines)
    program.write_text(f'#!/bin/sh\n[ "$1" = --list-gpus ] || exit 1\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == tuple(str(number) for number in range(expected))


def test_without_nvidia_smi_there_are_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ()


def test_share_as_text() -> None:
    assert str(ResourceShare(2, 4)) == "2 at a time, 4 threads each"
    assert str(ResourceShare(3, 1, ("0", "1"))) == "3 at a time, 1 thread each, 2 GPUs round-robin"


def test_mig_instances_are_not_counted_as_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A'\necho '  MIG 1g Device 0: B'\necho 'GPU 1: C'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resources.visible_gpus() == ("0", "1")


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_rejected(workers: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"^hydra\.launcher\.max_workers={workers}: must be an integer of at least 1"
    ):
        resources.allocate(workers, ["cpu"])
