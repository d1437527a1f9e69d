"""torchmetrics is imported as a whole only when more than Lightning's two classes of it are used."""

import subprocess
import sys

import pytest

SLOW = ["scipy", "torchvision", "pandas", "matplotlib", "torchmetrics.functional"]
DEFERRED = f"""
import sys
import dive
import pytorch_lightning

from dive.training import instantiate, result
print([name for name in {SLOW} if name in sys.modules])
import torchmetrics
from torchmetrics import Metric, MetricCollection
print(hasattr(torchmetrics, "__nothing__"), torchmetrics.__version__ != "", "scipy" in sys.modules)
from torchmetrics import Accuracy
print(isinstance(Accuracy(task="binary"), Metric), torchmetrics.Metric is Metric, MetricCollection([]) is not None)
print(type(torchmetrics).__name__, pytorch_lightning.utilities.types.Metric is Metric)
import torchmetrics.classification
print(torchmetrics.classification.MulticlassAccuracy(3))
import matplotlib, torch
matplotlib.use("agg")
confusion = torchmetrics.classification.MulticlassConfusionMatrix(3)
confusion.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
print(confusion.plot()[1].get_xlabel())
"""
MOVED = """
from dive.lazy import torchmetrics as lazy
lazy.USED_BY_LIGHTNING = {moved}
import pytorch_lightning, torchmetrics
from torchmetrics import Metric, MetricCollection
assert pytorch_lightning.utilities.types.Metric is Metric
assert isinstance(torchmetrics.MeanMetric(), Metric)
import torchmetrics.utilities.plot
print(type(torchmetrics).__name__, type(torchmetrics.utilities.plot).__name__)
"""


def run_code(code: str) -> list[str]:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@pytest.mark.slow
def test_the_package_is_loaded_when_any_of_it_is_accessed() -> None:
    assert run_code(DEFERRED) == [
        "[]",
        "False True False",
        "True True True",
        "module True",
        "MulticlassAccuracy()",
        "Predicted class",
    ]


@pytest.mark.slow
def test_the_package_is_imported_as_usual_if_a_class_has_moved() -> None:
    for moved in (
        {"Metric": "torchmetrics.no_such_module", "MetricCollection": "torchmetrics.no_such_module"},
        {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.metric"},
    ):
        assert run_code(MOVED.format(moved=moved)) == ["module module"]


@pytest.mark.slow
def test_a_package_imported_before_is_kept() -> None:
    assert run_code("import torchmetrics; import dive; print(type(torchmetrics).__name__)") == ["module"]


@pytest.mark.slow
def test_a_missing_package_is_ignored() -> None:
    code = (
        "import importlib.util, sys; import dive.lazy.torchmetrics as lazy; del sys.modules['torchmetrics'];"
        "importlib.util.find_spec = lambda _: None; lazy.install_lazy_torchmetrics();"
        "print('torchmetrics' in sys.modules)"
    )
    assert run_code(code) == ["False"]
