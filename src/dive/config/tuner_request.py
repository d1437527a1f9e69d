"""Which tuner a configuration requests: the learning-rate finder, the batch-size finder, or none."""

from dive.errors import ConfigError
from dive.runs.record import Config

TUNED_KEYS = {"find_lr": "optimizer.lr", "find_batch_size": "data.batch_size"}
MAX_BATCH_SIZE = 8192  # the largest batch size that Lightning's finder tries, whatever its arguments


def requested_tuner(config: Config) -> str | None:
    """Return the key of `TUNED_KEYS` that is set, to run that tuner instead of training; None if none is set.

    Raises:
        ConfigError: the tuner cannot run with this configuration.
    """
    if invalid := next((name for name in TUNED_KEYS if not isinstance(config.get(name, False), bool)), None):
        raise ConfigError(f"{invalid}={config[invalid]}: must be true or false")
    requested = [name for name in TUNED_KEYS if config.get(name)]
    if not requested:
        return None
    name = requested[0]
    if len(requested) > 1:
        raise ConfigError(f"{requested[1]}=true: cannot be combined with {name}=true; remove one of them")
    if config.get("resume") is not None:
        raise ConfigError(f"{name}=true: a tuner cannot be resumed; remove resume={config['resume']}")
    group, _, key = TUNED_KEYS[name].partition(".")
    if key not in config[group]:
        raise ConfigError(f"{name}=true: the configuration has no {TUNED_KEYS[name]}")
    if (lr := config["tune"]["find_lr"])["min_lr"] >= lr["max_lr"]:
        raise ConfigError(f"tune.find_lr.min_lr={lr['min_lr']}: must be below tune.find_lr.max_lr={lr['max_lr']}")
    size, prefix = config["tune"]["find_batch_size"], "tune.find_batch_size"
    if size["init_val"] > size["max_val"]:
        raise ConfigError(f"{prefix}.init_val={size['init_val']}: must be at most max_val={size['max_val']}")
    if size["max_val"] > MAX_BATCH_SIZE:
        raise ConfigError(
            f"{prefix}.max_val={size['max_val']}: must be at most {MAX_BATCH_SIZE}, Lightning's limit"
        )
    return name
