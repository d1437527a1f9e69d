"""Which way each metric is better."""

LOWER_IS_BETTER = ("loss", "mse", "mae", "rmse", "error", "perplexity")
HIGHER_IS_BETTER = ("acc", "accuracy", "auroc", "f1", "precision", "r2", "recall")


def metric_mode(metric: str) -> str:
    """Whether a metric should fall or rise, told by the last part of its name.

    Args:
        metric: a name such as ``val/loss`` or ``val/acc``.

    Returns:
        ``"min"`` or ``"max"``.

    Raises:
        ValueError: the name ends in none of the known ones.

    >>> metric_mode("val/loss"), metric_mode("val/acc")
    ('min', 'max')
    """
    kind = metric.rsplit("/", 1)[-1]
    if kind in LOWER_IS_BETTER:
        return "min"
    if kind in HIGHER_IS_BETTER:
        return "max"
    known = ", ".join(LOWER_IS_BETTER + HIGHER_IS_BETTER)
    raise ValueError(f"cannot tell whether {metric!r} should fall or rise; its name must end in one of {known}")
