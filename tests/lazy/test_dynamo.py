"""`torch._dynamo` is imported when something is compiled, and then behaves as if it had been imported at once."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dive.errors import ConfigError
from dive.training.trainer import Trainer

# Something that needs the real module.
ACCESSES = [
    "torch._dynamo.reset()",
    "import torch._dynamo.config",
    "from torch._dynamo import config",
    "from torch._dynamo.utils import counters",
    "import torch._inductor.config",
    "torch.use_deterministic_algorithms(True)",
    "torch.compiler.disable(model)",
]
# What Lightning and torch's optimizers do with it in every run; then, in a fork of the process, one access.
DEFERRED = """
import os, sys, types
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
disabled = torch.compiler.disable(lambda x: calls.append(torch.compiler.is_compiling()) or x + 1)
decorated = torch.compiler.disable(reason="a test")(lambda x: x + 1)
assert disabled(1) == decorated(1) == 2
assert not isinstance(model, OptimizedModule)
assert "sympy" not in sys.modules and "torch._dynamo.eval_frame" not in sys.modules
assert hasattr(torch._dynamo, "__path__") and not hasattr(torch._dynamo, "__nothing__")

def check(access):
    exec(access, globals())
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
    both = torch.compile(lambda x: disabled(x * 2) * 3, backend=count)
    assert both(torch.ones(1)).item() == 9
    assert len(traced) == 2, traced  # the code before and after the disabled function
    assert calls == [False, False]
    optimizer.zero_grad()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    optimizer.step()
    assert isinstance(torch.compiler.disable(model), torch.nn.Module)

for access in sys.argv[1:]:
    if (child := os.fork()) == 0:
        check(access)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0, access
print("passed")
"""


def run_code(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_dynamo_is_loaded_when_any_of_it_is_accessed() -> None:
    assert run_code(DEFERRED, *ACCESSES) == "passed"


@pytest.mark.slow
def test_a_module_imported_before_is_kept() -> None:
    code = (
        "import sys, torch._dynamo; import dive; from dive.lazy.dynamo import LazyFinder; "
        "print(type(torch._dynamo).__name__, any(isinstance(finder, LazyFinder) for finder in sys.meta_path))"
    )
    assert run_code(code) == "module False"


@pytest.mark.slow
def test_dynamo_is_imported_as_usual_if_a_replaced_name_is_gone() -> None:
    code = (
        "from dive.lazy import dynamo; dynamo.PLACEHOLDERS['no_such_name'] = None; "
        "import torch._dynamo, pytorch_lightning; "
        "print(type(torch._dynamo).__name__, torch._dynamo.OptimizedModule is not dynamo.OptimizedModule)"
    )
    assert run_code(code) == "module True"


def test_deterministic_false_turns_determinism_off() -> None:
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    states = []
    for deterministic in (True, False, False):
        Trainer(deterministic=deterministic, **settings)
        states.append(torch.are_deterministic_algorithms_enabled())
    assert states == [True, False, False]


@pytest.mark.parametrize(
    ("setting", "message"), [("mode", "should be one of: default"), ("backend", "reduce"), ("x", "'x'")]
)
def test_invalid_arguments_of_compile_are_a_one_line_error(
    fit: Callable[..., Any], setting: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"trainer.compile={{'{setting}': 'reduce'}}: .*{message}"):
        fit("model=linear_regression", f"trainer.compile={{{setting}: reduce}}")
