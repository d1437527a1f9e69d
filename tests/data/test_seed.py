"""`seed` changes no data set: runs with different seeds are compared on the same data."""

import pytest

from dive.config.compose import compose_resolved
from dive.config.groups import config_choices
from dive.training.instantiate import instantiate_datamodule

FEW = {"garments": ["data.num_train=64", "data.num_test=16", "data.val_size=16"]}
NEEDS_FILES = ("fashion_mnist",)  # the same class holds out images of garments


@pytest.mark.parametrize("name", [name for name in config_choices("data") if name not in NEEDS_FILES])
def test_data_do_not_change_with_the_seed(name: str) -> None:
    model = "mlp" if name == "garments" else "linear_regression"
    overrides = [f"model={model}", f"data={name}", *FEW.get(name, [])]
    first, second = (instantiate_datamodule(compose_resolved(*overrides, f"seed={seed}")) for seed in (0, 1))
    assert first.seed != second.seed
    assert first.checksums == second.checksums
