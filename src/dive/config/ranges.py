"""Where the numbers of a configuration must lie."""

from typing import Any

# Where a number of this name must lie, wherever it stands in the configuration; {} holds whole numbers only.
RANGES = {
    "batch_size": "{1, inf}",
    "draw_seed": "{0, inf}",
    "dropout": "[0, 1)",
    "early_stop_threshold": "(1, inf)",
    "every_n_epochs": "{1, inf}",
    "every_n_steps": "{1, inf}",
    "gamma": "(0, inf)",
    "gradient_clip_val": "[0, inf)",
    "init_val": "{1, inf}",
    "lr": "(0, inf)",
    "max_epochs": "{1, inf}",
    "max_lr": "(0, inf)",
    "max_val": "{1, inf}",
    "min_interval_s": "[0, inf)",
    "min_lr": "(0, inf)",
    "momentum": "[0, inf)",
    "noise": "[0, inf)",
    "num_images": "{1, inf}",
    "num_test": "{1, inf}",
    "num_train": "{1, inf}",
    "num_training": "{1, inf}",
    "num_val": "{1, inf}",
    "num_workers": "{0, inf}",
    "patience": "{0, inf}",
    "seed": "{0, 4294967295}",
    "sigma": "[0, inf)",
    "split_seed": "{0, inf}",
    "step_size": "{1, inf}",
    "steps_per_execution": "{1, inf}",
    "steps_per_trial": "{1, inf}",
    "timeout": "(0, 3600]",
    "val_fraction": "(0, 1)",
    "val_size": "{0, inf}",
    "weight_decay": "[0, inf)",
}


def describe_range(limits: str) -> str:
    """An interval in words.

    >>> describe_range("(0, inf)"), describe_range("{1, inf}")
    ('a number in (0, inf)', 'a whole number of at least 1')
    """
    if limits[0] != "{":
        return f"a number in {limits}"
    low, high = limits[1:-1].split(", ")
    return f"a whole number of at least {low}" + ("" if high == "inf" else f" and at most {high}")


def in_range(value: Any, limits: str) -> bool:
    """Whether a number lies in an interval.

    >>> in_range(0, "[0, 1)"), in_range(1, "[0, 1)"), in_range("a", "[0, 1)"), in_range(1.5, "{1, inf}")
    (True, False, False, False)
    """
    numbers = int if limits[0] == "{" else int | float
    if isinstance(value, bool) or not isinstance(value, numbers) or value != value:
        return False
    low, high = (float(bound) for bound in limits[1:-1].split(","))
    above = value > low if limits[0] == "(" else value >= low
    return above and (value < high if limits[-1] == ")" else value <= high)
