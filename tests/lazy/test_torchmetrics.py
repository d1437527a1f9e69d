"""What Lightning does not need of torchmetrics comes in when it is asked for, and not before."""

import subprocess
import sys

SLOW = ["scipy", "torchvision", "pandas", "matplotlib", "torchmetrics.functional"]
LOOKED_AT = f"""
import sys
import dive
import pytorch_lightning
from dive import build, result
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
confused = torchmetrics.classification.MulticlassConfusionMatrix(3)
confused.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
print(confused.plot()[1].get_xlabel())
"""


def test_all_of_torchmetrics_is_there_when_it_is_asked_for() -> None:
    said = subprocess.run([sys.executable, "-c", LOOKED_AT], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "[]",
        "False True False",
        "True True True",
        "module True",
        "MulticlassAccuracy()",
        "Predicted class",
    ]


def test_whoever_has_imported_it_before_keeps_it_and_without_it_nothing_happens() -> None:
    before = "import torchmetrics; import dive; print(type(torchmetrics).__name__)"
    hidden = (
        "import importlib.util; import dive.lazy.torchmetrics as s; import sys; del sys.modules['torchmetrics'];"
        "importlib.util.find_spec = lambda _: None; s.put_off_torchmetrics(); print('torchmetrics' in sys.modules)"
    )
    for code, told in ((before, "module"), (hidden, "False")):
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.strip() == told
