"""dive: the models of Dive into Deep Learning, chapters 3 to 5, on Hydra and PyTorch Lightning."""

from dive.slow_imports import put_off_torchmetrics

put_off_torchmetrics()
