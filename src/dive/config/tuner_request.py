"""Which tuner a configuration requests: the learning-rate finder, the batch-size finder, or none."""

from dive.errors import ConfigError
from dive.runs.record import Config

TUNED_KEYS = {"find_lr": "optimizer.lr", "find_batch_size": "data.batch_size"}
MAX_BATCH_SIZE = 8192  # examples a batch that Lightning tries, whatever it is asked for


def requested_tuner(config: Config) -> str | None:
    """The search of `TUNED_KEYS` that is to take the place of training; None for none.

    Raises:
        ConfigError: it cannot be done as configured.
    """
    if mistyped := next((name for name in TUNED_KEYS if not isinstance(config.get(name, False), bool)), None):
        raise ConfigError(f"{mistyped}={config[mistyped]}: must be true or false")
    wanted = [name for name in TUNED_KEYS if config.get(name)]
    if not wanted:
        return None
    name = wanted[0]
    if len(wanted) > 1:
        raise ConfigError(f"{wanted[1]}=true: one search at a time; leave out {name}=true")
    if config.get("resume") is not None:
        raise ConfigError(
            f"{name}=true: a search is not gone on with, and begins anew: leave out resume={config['resume']}"
        )
    group, _, key = TUNED_KEYS[name].partition(".")
    if key not in config[group]:
        raise ConfigError(f"{name}=true: there is no {TUNED_KEYS[name]} to look for")
    if (lr := config["tune"]["find_lr"])["min_lr"] >= lr["max_lr"]:
        raise ConfigError(f"tune.find_lr.min_lr={lr['min_lr']}: must be below tune.find_lr.max_lr={lr['max_lr']}")
    if (size := config["tune"]["find_batch_size"])["init_val"] > size["max_val"]:
        raise ConfigError(
            f"tune.find_batch_size.init_val={size['init_val']}: must be at most max_val={size['max_val']}"
        )
    if size["max_val"] > MAX_BATCH_SIZE:
        raise ConfigError(
            f"tune.find_batch_size.max_val={size['max_val']}: Lightning's search ends at {MAX_BATCH_SIZE}"
        )
    return name
