"""Torch's compiler comes in when something is compiled, and then nothing tells that it was late."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dive.errors import ConfigError
from dive.training.trainer import Trainer

# What Lightning and torch's optimizers do with it in each run; then a part of it, asked for in one way or another.
PUT_OFF = """
import sys, types
import dive
import torch
from lightning_fabric.wrappers import OptimizedModule
from pytorch_lightning.utilities.compile import from_compiled

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(3, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
calls = []
alone = torch.compiler.disable(lambda x: calls.append(torch.compiler.is_compiling()) or x + 1)
marked = torch.compiler.disable(reason="a test")(lambda x: x + 1)
assert alone(1) == marked(1) == 2
assert not isinstance(model, OptimizedModule)
assert "sympy" not in sys.modules and "torch._dynamo.eval_frame" not in sys.modules
assert hasattr(torch._dynamo, "__path__") and not hasattr(torch._dynamo, "__nothing__")

{ask}
assert type(sys.modules["torch._dynamo"]) is types.ModuleType and "torch._dynamo.eval_frame" in sys.modules

traced = []
def count(graph, _):
    traced.append([node.target for node in graph.graph.nodes if node.op.startswith("call")])
    return graph.forward
compiled = torch.compile(model, backend=count)
assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch._dynamo.OptimizedModule)
assert torch.equal(compiled(torch.ones(3, 2)), model(torch.ones(3, 2)))
assert len(traced) == 1
traced.clear()
both = torch.compile(lambda x: alone(x * 2) * 3, backend=count)
assert both(torch.ones(1)).item() == 9
assert len(traced) == 2, traced  # what stands before it, and what stands after
assert calls == [False, False]
optimizer.zero_grad()
optimizer.add_param_group({{"params": [torch.nn.Parameter(torch.ones(1))]}})
optimizer.step()
assert isinstance(torch.compiler.disable(model), torch.nn.Module)
print("as always")
"""


@pytest.mark.parametrize(
    "ask",
    [
        "torch._dynamo.reset()",
        "import torch._dynamo.config",
        "from torch._dynamo import config",
        "from torch._dynamo.utils import counters",
        "import torch._inductor.config",
        "torch.use_deterministic_algorithms(True)",
        "torch.compiler.disable(model)",
    ],
)
def test_all_of_the_compiler_is_there_when_any_of_it_is_asked_for(ask: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PUT_OFF.format(ask=ask)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "as always\n"), done.stderr


def test_whoever_has_imported_it_before_keeps_it() -> None:
    before = (
        "import sys, torch._dynamo; import dive; from dive.lazy.dynamo import Finder; "
        "print(type(torch._dynamo).__name__, any(isinstance(finder, Finder) for finder in sys.meta_path))"
    )
    said = subprocess.run([sys.executable, "-c", before], capture_output=True, text=True, check=True).stdout
    assert said == "module False\n"


def test_determinism_is_switched_off_where_it_is_on() -> None:
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    states = []
    for deterministic in (True, False, False):
        Trainer(deterministic=deterministic, **settings)
        states.append(torch.are_deterministic_algorithms_enabled())
    assert states == [True, False, False]


@pytest.mark.parametrize(
    ("setting", "told"), [("mode", "should be one of: default"), ("backend", "reduce"), ("x", "'x'")]
)
def test_what_cannot_be_compiled_with_is_told_in_a_line(fit: Callable[..., Any], setting: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer.compile={{'{setting}': 'reduce'}}: .*{told}"):
        fit("model=linear_regression", f"trainer.compile={{{setting}: reduce}}")
