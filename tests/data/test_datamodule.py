"""InMemoryDataModule: argument validation, loading, order of the batches, device."""

from types import SimpleNamespace

import pytest
import torch

from dive.data import datamodule
from dive.data.datamodule import InMemoryDataModule, Splits, fits_on_device
from dive.data.tensor_dataset import TensorDataset
from dive.errors import DataError


def numbered(count: int, start: int = 0) -> TensorDataset:
    numbers = torch.arange(start, start + count)
    return TensorDataset(numbers.reshape(-1, 1).float(), numbers)


class Numbers(InMemoryDataModule):
    """Twenty training numbers, ten validation numbers and, optionally, five test numbers."""

    name = "numbers"
    num_inputs = 1
    num_outputs = 1
    loads = 0

    def __init__(self, test: bool = True, batch_size: int = 8, **settings: int | bool) -> None:
        super().__init__(batch_size, **settings)
        self.test = test

    def load(self) -> Splits:
        """Count the calls, and return splits with different numbers."""
        self.loads += 1
        return Splits(numbered(20), numbered(10, 100), numbered(5, 200) if self.test else None)


def with_trainer_on(device: str, data: Numbers) -> Numbers:
    """Attach a trainer with that device, and set up the data."""
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    data.setup("fit")
    return data


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_below_1_is_rejected(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        Numbers(batch_size=batch_size)


def test_load_is_abstract() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?load'?"):
        InMemoryDataModule(batch_size=1)  # type: ignore[abstract]  # that is what is tested


def test_splits_are_loaded_once_on_first_access() -> None:
    data = Numbers()
    assert data.loads == 0
    data.setup("fit")
    assert data.has_test
    list(data.train_dataloader())
    list(data.val_dataloader())
    data.setup("test")
    list(data.test_dataloader())
    assert data.loads == 1


def test_training_batches_are_shuffled_and_hold_every_example() -> None:
    batches = [targets.tolist() for _, targets in Numbers(seed=3).train_dataloader()]
    assert [len(batch) for batch in batches] == [8, 8, 4]
    seen = [number for batch in batches for number in batch]
    assert seen != list(range(20))
    assert sorted(seen) == list(range(20))


def test_order_depends_on_the_seed() -> None:
    orders = [
        torch.cat([targets for _, targets in Numbers(seed=seed).train_dataloader()]).tolist() for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_training_batches_are_sequential_without_shuffling() -> None:
    seen = torch.cat([targets for _, targets in Numbers(shuffle=False).train_dataloader()])
    assert seen.tolist() == list(range(20))


def test_validation_and_test_batches_are_sequential() -> None:
    data = Numbers(shuffle=True)
    assert torch.cat([targets for _, targets in data.val_dataloader()]).tolist() == list(range(100, 110))
    assert torch.cat([targets for _, targets in data.test_dataloader()]).tolist() == list(range(200, 205))


def test_inputs_match_targets_in_a_batch() -> None:
    for inputs, targets in Numbers().train_dataloader():
        assert inputs.squeeze(1).tolist() == targets.tolist()


def test_missing_test_split_raises_data_error() -> None:
    data = Numbers(test=False)
    assert not data.has_test
    with pytest.raises(DataError, match=r"^numbers has no test split$"):
        data.test_dataloader()


# The device "meta" stands in for an accelerator: it is not the CPU, and every machine has it.
def test_splits_move_to_the_trainer_device() -> None:
    data = with_trainer_on("meta", Numbers())
    for part in data.splits:
        assert part.inputs.device.type == part.targets.device.type == "meta"


def test_splits_without_a_test_split_move() -> None:
    train, val, test = with_trainer_on("meta", Numbers(test=False)).splits
    assert train.inputs.device.type == val.inputs.device.type == "meta"
    assert test is None


def test_a_shared_split_moves_once(monkeypatch: pytest.MonkeyPatch) -> None:
    same = numbered(10)
    monkeypatch.setattr(Numbers, "load", lambda _: Splits(numbered(20), same, same))
    _, val, test = with_trainer_on("meta", Numbers()).splits
    assert val is test
    assert val.inputs.device.type == "meta"


def test_splits_stay_on_the_cpu_with_workers() -> None:
    assert with_trainer_on("meta", Numbers(num_workers=1)).splits.train.inputs.device.type == "cpu"


def test_splits_stay_on_the_cpu_if_they_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "fits_on_device", lambda *_: False)
    for part in with_trainer_on("meta", Numbers()).splits:
        assert part.inputs.device.type == "cpu"


def test_splits_fit_below_half_of_the_free_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"], 10**9))
    cuda = torch.device("cuda", 0)
    for test, examples in ((None, 15), (numbered(5), 20)):
        splits = Splits(numbered(10), numbered(5), test)
        free["bytes"] = 2 * 12 * examples + 1  # an example has 4 + 8 bytes
        assert fits_on_device(splits, cuda)
        free["bytes"] -= 1
        assert not fits_on_device(splits, cuda)
        assert fits_on_device(splits, torch.device("cpu"))
