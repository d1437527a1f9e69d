"""Valid ranges of the numbers in a configuration."""

from typing import Any

# Each range applies to keys whose last part has this name; braces denote integers.
RANGES = {
    name: limits
    for limits, names in {
        "{0, inf}": "draw_seed num_workers patience split_seed val_size",
        "{0, 4294967295}": "seed",
        "{1, inf}": "batch_size every_n_epochs every_n_steps init_val max_epochs max_val num_images num_test "
        "num_train num_training num_val step_size steps_per_execution steps_per_trial",
        "[0, 1)": "dropout",
        "[0, inf)": "gradient_clip_val min_interval_s momentum noise sigma weight_decay",
        "(0, 1)": "val_fraction",
        "(0, 3600]": "timeout",
        "(0, inf)": "gamma lr max_lr min_lr",
        "(1, inf)": "early_stop_threshold",
    }.items()
    for name in names.split()
}


def describe_range(limits: str) -> str:
    """Describe a range for an error message.

    >>> describe_range("(0, inf)"), describe_range("{1, inf}")
    ('a number in (0, inf)', 'an integer of at least 1')
    """
    if limits[0] != "{":
        return f"a number in {limits}"
    low, high = limits[1:-1].split(", ")
    return f"an integer of at least {low}" + ("" if high == "inf" else f" and at most {high}")


def in_range(value: Any, limits: str) -> bool:
    """Whether a value is a number within a range.

    >>> in_range(0, "[0, 1)"), in_range(1, "[0, 1)"), in_range("a", "[0, 1)"), in_range(1.5, "{1, inf}")
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int if limits[0] == "{" else int | float):
        return False
    low, high = (float(bound) for bound in limits[1:-1].split(","))
    above_low = value > low if limits[0] == "(" else value >= low
    return above_low and (value < high if limits[-1] == ")" else value <= high)  # NaN fails both comparisons
