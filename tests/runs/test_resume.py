"""Where a run goes on, and under which configuration."""

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


def test_the_newest_is_taken(last: Path, best: Path) -> None:
    assert latest_valid_checkpoint([last, best]) == (last, [])


def test_one_that_is_not_there_is_passed_over_and_told(tmp_path: Path, best: Path) -> None:
    missing = tmp_path / "last.ckpt"
    assert latest_valid_checkpoint([missing, best]) == (best, [f"{missing} does not exist"])
    assert latest_valid_checkpoint([missing]) == (None, [f"{missing} does not exist"])


def test_damaged_ones_are_passed_over_and_told(last: Path, best: Path) -> None:
    last.write_bytes(last.read_bytes()[:-100])
    found, wrong = latest_valid_checkpoint([last, best])
    assert found == best
    assert [line.partition(" is damaged: ")[0] for line in wrong] == [str(last)]
    best.write_bytes(b"")
    found, wrong = latest_valid_checkpoint([last, best])
    assert found is None
    assert [line.partition(" is damaged: ")[0] for line in wrong] == [str(last), str(best)]


def test_one_that_is_refused_is_not_passed_over(last: Path, best: Path) -> None:
    save_checkpoint({**CHECKPOINT, "hyper_parameters": {"_instantiator": "os.system"}}, last)
    with pytest.raises(RunError, match=r"last\.ckpt is refused"):
        latest_valid_checkpoint([last, best])


def test_it_goes_on_as_it_began(tmp_path: Path) -> None:
    check_resume_compatible(tmp_path, CHECKPOINT, CONFIG)
    check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | {"resume": str(tmp_path), "trainer": {"max_epochs": 4}})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 5}, "seed: 0 -> 5"),
        ({"optimizer": {"lr": 0.1, "momentum": 0.9}}, "optimizer.momentum: (none) -> 0.9"),
        ({"optimizer": {}}, "optimizer.lr: 0.1 -> (none); optimizer: (none) -> {}"),
    ],
)
def test_what_has_changed_since_is_told_whoever_has_changed_it(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    # The record says the same as the command line: somebody has edited it.
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | change))
    with pytest.raises(RunError) as caught:
        check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | change)
    assert str(caught.value) == (
        f"resume={tmp_path}: {told}: a run goes on as it began; only trainer, callbacks, logger may change"
    )


def test_a_checkpoint_without_a_configuration_leaves_it_to_the_record(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    older = {name: value for name, value in CHECKPOINT.items() if name != "config"}
    check_resume_compatible(tmp_path, older, CONFIG)
    with pytest.raises(RunError, match="seed: 0 -> 5"):
        check_resume_compatible(tmp_path, older, CONFIG | {"seed": 5})


def test_epochs_that_are_done_cannot_be_taken_back(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        check_resume_compatible(tmp_path, CHECKPOINT, CONFIG | {"trainer": {"max_epochs": 3}})
    assert str(caught.value) == "trainer.max_epochs=3: the run has trained for 4 epochs already"
