"""Whether a lower or a higher value of a metric is better."""

from typing import Literal, cast

from dive.errors import ConfigError

LOWER_IS_BETTER = ("loss", "mse", "mae", "rmse", "error", "perplexity")
HIGHER_IS_BETTER = ("acc", "accuracy", "auroc", "f1", "precision", "r2", "recall")


def metric_mode(monitor: str, mode: str = "auto") -> Literal["min", "max"]:
    """The `mode` of a monitored metric, as in Lightning's callbacks.

    Args:
        monitor: name of the metric, such as ``val/loss`` or ``val/acc``.
        mode: ``"min"``, ``"max"``, or ``"auto"``, which infers it from the last part of the name.

    Raises:
        ConfigError: `mode` is none of these, or cannot be inferred.

    >>> metric_mode("val/loss"), metric_mode("val/acc"), metric_mode("val/bleu", "max")
    ('min', 'max', 'max')
    """
    if mode in ("min", "max"):
        return cast(Literal["min", "max"], mode)
    if mode != "auto":
        raise ConfigError(f"mode={mode}: must be min, max or auto")
    kind = monitor.rsplit("/", 1)[-1]
    if kind in LOWER_IS_BETTER:
        return "min"
    if kind in HIGHER_IS_BETTER:
        return "max"
    raise ConfigError(
        f"monitor={monitor}: mode=auto cannot tell whether lower or higher is better; set mode=max or mode=min"
    )
