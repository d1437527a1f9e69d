"""Train one model, or with ``-m`` a sweep of them: ``python train.py model=mlp optimizer.lr=0.3``."""

import hydra
from omegaconf import DictConfig

from dive import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@cli.job
def main(config: DictConfig) -> float | None:
    """Train the configured model in a directory of its own; return its score."""
    # Imported here, so that --help, --cfg job and completion need not wait for torch.
    from dive import build, result, training

    settings = build.resolve(config)
    with build.run(settings) as run:
        trained = training.carry_out(settings, run)
    result.show(trained.result, run.directory)
    return trained.result["score"]


if __name__ == "__main__":
    cli.run(main)
