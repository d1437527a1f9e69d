"""Train one model, or with ``-m`` a sweep of them: ``python train.py model=mlp optimizer.lr=0.3``."""

import hydra
from omegaconf import DictConfig

from dive import cli


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@cli.job
def main(config: DictConfig) -> float | None:
    """Fit the configured model, test its best epoch and record the result; return its score."""
    # Imported here, so that --help, --cfg job and completion need not wait for torch.
    from pytorch_lightning import seed_everything

    from dive import build, result
    from dive.log import quiet

    quiet()
    settings = build.resolve(config)
    with build.run(settings) as run:
        seed_everything(settings["seed"], verbose=False)
        data = build.data(settings)
        task = build.task(settings, data)
        trainer = build.trainer(settings, run.directory)

        trainer.fit(task, data, ckpt_path=run.checkpoint, weights_only=True)
        if data.has_test:
            best = result.best_checkpoint(trainer, settings["optimize"])
            trainer.test(task, data, ckpt_path=best, weights_only=True, verbose=False)

        outcome = result.gather(trainer, settings)
        run.finish(outcome)
    result.show(outcome, run.directory)
    return outcome["score"]


if __name__ == "__main__":
    cli.run(main)
