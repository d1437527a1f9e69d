"""Train one model, or with ``-m`` a sweep of them: ``python train.py model=mlp optimizer.lr=0.3``."""

import hydra
from omegaconf import DictConfig

from dive import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@cli.job_guard
def main(config: DictConfig) -> float | None:
    """Train the configured model in a new run directory; return its score."""
    # Imported here so that --help, --cfg job and shell completion do not import torch.
    from dive.config.compose import resolve_config
    from dive.training import fit, instantiate, result

    resolved = resolve_config(config)
    with instantiate.instantiate_run(resolved) as run:
        trained = fit.execute(resolved, run)
    result.print_result(trained.result, run.directory)
    return trained.result["score"]


if __name__ == "__main__":
    cli.main_guard(main)
