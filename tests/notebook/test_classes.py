"""Classes written cell by cell."""

from typing import Any

import pytest
from torch import nn

from dive.notebook import HyperParameters, add_to_class


def test_a_function_becomes_a_method_and_stays_a_function() -> None:
    class Model:
        rate = 2

    model = Model()

    @add_to_class(Model)
    def doubled(self: Any, x: int) -> int:
        return self.rate * x

    assert model.doubled(3) == 6  # type: ignore[attr-defined]  # added a moment ago
    assert doubled(model, 4) == 8


class Given(HyperParameters):
    """Takes arguments of every kind."""

    def __init__(self, a: int, b: int = 2, *, c: int = 3, **more: int) -> None:
        unrelated = 9  # noqa: F841  # a local variable is none of its arguments
        self.save_hyperparameters(ignore=["b"])


def test_arguments_of_every_kind_are_saved_and_nothing_else() -> None:
    given = Given(1, d=4)
    assert given.hparams == {"a": 1, "c": 3, "d": 4}
    assert (given.a, given.c, given.d) == (1, 3, 4)  # type: ignore[attr-defined]  # as they were given
    assert not hasattr(given, "b")
    assert not hasattr(given, "unrelated")


def test_a_name_to_ignore_that_is_no_argument_is_told() -> None:
    class Wrong(HyperParameters):
        def __init__(self, lr: float) -> None:
            self.save_hyperparameters(ignore=["rl"])

    with pytest.raises(ValueError, match="ignore: rl: choose from lr"):
        Wrong(0.1)


def test_only_a_class_can_be_added_to() -> None:
    for wrong in (Given(1), len):
        with pytest.raises(TypeError, match=r"@add_to_class\(MyClass\)"):
            add_to_class(wrong)  # type: ignore[arg-type]  # that is what is tested


def test_one_name_to_ignore_need_not_be_a_list() -> None:
    class Quiet(HyperParameters):
        def __init__(self, lr: float, verbose: bool) -> None:
            self.save_hyperparameters(ignore="verbose")

    assert Quiet(0.1, verbose=True).hparams == {"lr": 0.1}


def test_a_subclass_saves_the_arguments_of_the_constructor_that_asks() -> None:
    class Base(HyperParameters):
        def __init__(self, width: int) -> None:
            self.save_hyperparameters()

    class Wide(Base):
        def __init__(self, lr: float, *, depth: int = 2) -> None:
            super().__init__(width=512)

    assert Wide(0.1).hparams == {"width": 512}


def test_modules_keep_their_layers_and_parameters() -> None:
    class Net(HyperParameters, nn.Module):
        def __init__(self, num_inputs: int, num_outputs: int, body: nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.head = nn.Linear(num_inputs, num_outputs)

    net = Net(2, 3, nn.Linear(2, 2))
    assert (net.num_inputs, net.num_outputs) == (2, 3)
    assert len(list(net.parameters())) == 4
