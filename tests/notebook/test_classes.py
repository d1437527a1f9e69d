"""Classes defined across notebook cells."""

from typing import Any

import pytest
from torch import nn

from dive.notebook import HyperParameters, add_to_class


def test_add_to_class_adds_a_method() -> None:
    class Model:
        rate = 2

    model = Model()

    @add_to_class(Model)
    def double(self: Any, x: int) -> int:
        return self.rate * x

    assert model.double(3) == 6  # type: ignore[attr-defined]  # added above
    assert double(model, 4) == 8


class AllArguments(HyperParameters):
    """Has all kinds of arguments."""

    def __init__(self, a: int, b: int = 2, *, c: int = 3, **others: int) -> None:
        unrelated = 9  # noqa: F841  # a local variable is not an argument
        self.save_hyperparameters(ignore=["b"])


def test_all_kinds_of_arguments_are_saved() -> None:
    saved = AllArguments(1, d=4)
    assert saved.hparams == {"a": 1, "c": 3, "d": 4}
    assert (saved.a, saved.c, saved.d) == (1, 3, 4)  # type: ignore[attr-defined]  # set dynamically
    assert not hasattr(saved, "b")
    assert not hasattr(saved, "unrelated")


def test_unknown_name_to_ignore_is_rejected() -> None:
    class UnknownIgnored(HyperParameters):
        def __init__(self, lr: float) -> None:
            self.save_hyperparameters(ignore=["rl"])

    with pytest.raises(ValueError, match="ignore: rl: choose from lr"):
        UnknownIgnored(0.1)


def test_add_to_class_rejects_non_classes() -> None:
    for invalid in (AllArguments(1), len):
        with pytest.raises(TypeError, match=r"@add_to_class\(MyClass\)"):
            add_to_class(invalid)  # type: ignore[arg-type]  # that is what is tested


def test_ignore_may_be_a_string() -> None:
    class OneIgnored(HyperParameters):
        def __init__(self, lr: float, verbose: bool) -> None:
            self.save_hyperparameters(ignore="verbose")

    assert OneIgnored(0.1, verbose=True).hparams == {"lr": 0.1}


def test_arguments_of_the_calling_constructor_are_saved() -> None:
    class Base(HyperParameters):
        def __init__(self, width: int) -> None:
            self.save_hyperparameters()

    class Wide(Base):
        def __init__(self, lr: float, *, depth: int = 2) -> None:
            super().__init__(width=512)

    assert Wide(0.1).hparams == {"width": 512}


def test_modules_keep_layers_and_parameters() -> None:
    class Net(HyperParameters, nn.Module):
        def __init__(self, num_inputs: int, num_outputs: int, body: nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.head = nn.Linear(num_inputs, num_outputs)

    net = Net(2, 3, nn.Linear(2, 2))
    assert (net.num_inputs, net.num_outputs) == (2, 3)
    assert len(list(net.parameters())) == 4
