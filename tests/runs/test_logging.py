"""Which warnings of Lightning are silenced."""

import pytest
from pytorch_lightning.accelerators import CUDAAccelerator

from dive.training.trainer import Trainer


def test_cpu_is_chosen_without_a_warning_about_an_unused_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
