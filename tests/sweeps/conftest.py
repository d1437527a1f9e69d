"""Fixtures that write the files of a sweep by hand: run directories and the manifest."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dive.runs import provenance

CODE = "0123456789\n"  # a git revision and an empty diff


@pytest.fixture(autouse=True)
def constant_code_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs have the same code version, whatever the state of the checkout."""
    monkeypatch.setattr(provenance, "code_version", lambda: CODE)


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    """A new, empty sweep directory."""
    directory = tmp_path / "multirun" / "lr"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def fake_run(sweep_dir: Path) -> Callable[..., Path]:
    """Write a run directory: ``fake_run("seed=0", {"seed": 0}, score=0.5)``; ``status=None`` writes no result."""

    def run(
        name: str,
        config: Mapping[str, Any],
        *,
        status: str | None = "finished",
        score: float | None = None,
        monitor: str = "val/acc",
        error: str | None = None,
        curve: Sequence[float] = (),
        checkpoint: bool = False,
        code: str = CODE,
    ) -> Path:
        directory = sweep_dir / name
        directory.mkdir(parents=True)
        (directory / "config.yaml").write_text(yaml.safe_dump(dict(config)))
        revision, diff = code.split("\n", 1)
        (directory / "environment.json").write_text(json.dumps({"git_revision": revision}))
        (directory / "code.diff").write_text(diff)
        if checkpoint:
            (directory / "checkpoints").mkdir()
            (directory / "checkpoints" / "last.ckpt").write_bytes(b"weights of " + name.encode())
        if curve:
            rows = [f"{step},{step},{value}" for step, value in enumerate(curve)]
            (directory / "metrics.csv").write_text("\n".join([f"step,epoch,{monitor}", *rows, ""]))
        if status == "finished":
            result: dict[str, Any] = {
                "status": status,
                "seed": config.get("seed"),
                "monitor": monitor,
                "score": score,
                "best_epoch": 2,
                "metrics": {"best": {monitor: score, "val/loss": 0.25}, "final": {monitor: 0.125}},
                "seconds": 1.5,
            }
            (directory / "result.json").write_text(json.dumps(result))
        elif status is not None:
            (directory / "result.json").write_text(json.dumps({"status": status, "error": error}))
        return directory

    return run


@pytest.fixture
def write_manifest(sweep_dir: Path) -> Callable[..., None]:
    """Write ``sweep.json``: ``write_manifest(["seed"], {"seed=0": ["seed=0"]})``."""

    def write(varied: Sequence[str], jobs: Mapping[str, Sequence[str]]) -> None:
        manifest = {name: {"number": i, "overrides": list(words)} for i, (name, words) in enumerate(jobs.items())}
        (sweep_dir / "sweep.json").write_text(json.dumps({"varied": list(varied), "jobs": manifest}))

    return write
