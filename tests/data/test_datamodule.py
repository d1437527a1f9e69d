"""What all data modules share: guards, one loading, loaders in the right order, the device."""

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
    """Twenty numbers to train on, ten to validate on, and, if wanted, five to test on."""

    name = "numbers"
    num_inputs = 1
    num_outputs = 1
    loads = 0

    def __init__(self, test: bool = True, batch_size: int = 8, **settings: int | bool) -> None:
        super().__init__(batch_size, **settings)
        self.test = test

    def load(self) -> Splits:
        """Count, and tell the splits apart by their numbers."""
        self.loads += 1
        return Splits(numbered(20), numbered(10, 100), numbered(5, 200) if self.test else None)


def on(device: str, data: Numbers) -> Numbers:
    """As if a trainer of that device had it."""
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    data.setup("fit")
    return data


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_needs_an_example(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        Numbers(batch_size=batch_size)


def test_what_to_load_is_for_subclasses_to_say() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?load'?"):
        InMemoryDataModule(batch_size=1)  # type: ignore[abstract]  # that is what is tested


def test_nothing_is_loaded_before_it_is_needed_and_then_once() -> None:
    data = Numbers()
    assert data.loads == 0
    data.setup("fit")
    assert data.has_test
    list(data.train_dataloader())
    list(data.val_dataloader())
    data.setup("test")
    list(data.test_dataloader())
    assert data.loads == 1


def test_training_batches_come_in_a_new_order_and_hold_every_example() -> None:
    batches = [targets.tolist() for _, targets in Numbers(seed=3).train_dataloader()]
    assert [len(batch) for batch in batches] == [8, 8, 4]
    shown = [number for batch in batches for number in batch]
    assert shown != list(range(20))
    assert sorted(shown) == list(range(20))


def test_the_order_is_drawn_with_the_seed() -> None:
    orders = [
        torch.cat([targets for _, targets in Numbers(seed=seed).train_dataloader()]).tolist() for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_training_batches_keep_the_order_of_the_set_where_that_is_wanted() -> None:
    shown = torch.cat([targets for _, targets in Numbers(shuffle=False).train_dataloader()])
    assert shown.tolist() == list(range(20))


def test_validation_and_test_batches_keep_the_order_of_their_set() -> None:
    data = Numbers(shuffle=True)
    assert torch.cat([targets for _, targets in data.val_dataloader()]).tolist() == list(range(100, 110))
    assert torch.cat([targets for _, targets in data.test_dataloader()]).tolist() == list(range(200, 205))


def test_inputs_and_targets_of_a_batch_belong_together() -> None:
    for inputs, targets in Numbers().train_dataloader():
        assert inputs.squeeze(1).tolist() == targets.tolist()


def test_a_test_split_that_is_not_there_is_an_error_of_its_own() -> None:
    data = Numbers(test=False)
    assert not data.has_test
    with pytest.raises(DataError, match=r"^numbers has no test split$"):
        data.test_dataloader()


# The device "meta" stands for an accelerator: it is none of the CPU, and every machine has it.
def test_the_set_moves_to_the_trainer_s_device() -> None:
    data = on("meta", Numbers())
    for part in data.splits:
        assert part.inputs.device.type == part.targets.device.type == "meta"


def test_a_set_without_a_test_split_moves_too() -> None:
    train, val, test = on("meta", Numbers(test=False)).splits
    assert train.inputs.device.type == val.inputs.device.type == "meta"
    assert test is None


def test_a_split_that_serves_twice_moves_once(monkeypatch: pytest.MonkeyPatch) -> None:
    same = numbered(10)
    monkeypatch.setattr(Numbers, "load", lambda _: Splits(numbered(20), same, same))
    _, val, test = on("meta", Numbers()).splits
    assert val is test
    assert val.inputs.device.type == "meta"


def test_the_set_stays_in_memory_for_worker_processes() -> None:
    assert on("meta", Numbers(num_workers=1)).splits.train.inputs.device.type == "cpu"


def test_the_set_stays_in_memory_where_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "fits", lambda *_: False)
    for part in on("meta", Numbers()).splits:
        assert part.inputs.device.type == "cpu"


def test_a_set_fits_where_it_takes_less_than_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
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
