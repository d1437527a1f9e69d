"""From which checkpoint, and with which configuration, a run can be resumed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dive.errors import RunError
from dive.runs.checkpoint_io import save_checkpoint
from dive.runs.resume import check_resume_compatible, latest_valid_checkpoint

CONFIG: dict[str, Any] = {"seed": 0, "optimizer": {"lr": 0.1}, "trainer": {"max_epochs": 10}, "resume": None}
LOOPS = {"fit_loop": {"epoch_progress": {"current": {"processed": 4}}}}
CHECKPOINT = {"state_dict": {}, "loops": LOOPS, "config": CONFIG}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    path = tmp_path / "last.ckpt"
    save_checkpoint(CHECKPOINT, path)
    return path


@pytest.fixture
def best(tmp_path: Path) -> Path:
    path = tmp_path / "best.ckpt"
    save_checkpoint(CHECKPOINT, path)
    return path


def test_newest_checkpoint_is_used(last: Path, best: Path) -> None:
    assert latest_valid_checkpoint([last, best]) == (last, [])


def test_missing_checkpoint_is_skipped_and_reported(tmp_path: Path, best: Path) -> None:
    missing = tmp_path / "last.ckpt"
    assert latest_valid_checkpoint([missing, best]) == (best, [f"{missing} does not exist"])
    assert latest_valid_checkpoint([missing]) == (None, [f"{missing} does not exist"])


def test_corrupt_checkpoints_are_skipped_and_reported(last: Path, best: Path) -> None:
    last.write_bytes(last.read_bytes()[:-100])
    found, problems = latest_valid_checkpoint([last, best])
    assert found == best
    assert [line.partition(" is corrupt: ")[0] for line in problems] == [str(last)]
    best.write_bytes(b"")
    found, problems = latest_valid_checkpoint([last, best])
    assert found is None
    assert [line.partition(" is corrupt: ")[0] for line in problems] == [str(last), str(best)]


def test_rejected_checkpoint_is_not_skipped(last: Path, best: Path) -> None:
    save_checkpoint({**CHECKPOINT, "hyper_parameters": {"_instantiator": "os.system"}}, last)
    with pytest.raises(RunError, match=r"last\.ckpt is rejected"):
        latest_valid_checkpoint([last, best])


def test_unchanged_configuration_can_be_resumed(tmp_path: Path) -> None:
    check_resume_compatible(tmp_path, CHECKPOINT, CONFIG)
    check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | {"resume": str(tmp_path), "trainer": {"max_epochs": 4}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "seed: 0 -> 5"),
        ({"optimizer": {"lr": 0.1, "momentum": 0.9}}, "optimizer.momentum: (none) -> 0.9"),
        ({"optimizer": {}}, "optimizer.lr: 0.1 -> (none); optimizer: (none) -> {}"),
    ],
)
def test_changed_keys_are_reported_even_if_config_yaml_was_edited(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    # config.yaml was edited and agrees with the command line.
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | change))
    with pytest.raises(RunError) as caught:
        check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | change)
    assert str(caught.value) == (
        f"resume={tmp_path}: {message}: cannot be changed on resume; only trainer, callbacks, logger can"
    )


def test_config_yaml_is_compared_if_the_checkpoint_has_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    older = {name: value for name, value in CHECKPOINT.items() if name != "config"}
    check_resume_compatible(tmp_path, older, CONFIG)
    with pytest.raises(RunError, match="seed: 0 -> 5"):
        check_resume_compatible(tmp_path, older, CONFIG | {"seed": 5})


def test_max_epochs_cannot_be_below_the_completed_epochs(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | {"trainer": {"max_epochs": 3}})
    assert str(caught.value) == "trainer.max_epochs=3: the run has already trained for 4 epochs"


@pytest.mark.parametrize("loops", [{}, {"fit_loop": {}}, {"fit_loop": {"epoch_progress": {"current": 3}}}])
def test_a_checkpoint_without_progress_cannot_be_resumed(loops: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the checkpoint does not contain the progress of the run"):
        check_resume_compatible(tmp_path, CHECKPOINT | {"loops": loops}, CONFIG)
