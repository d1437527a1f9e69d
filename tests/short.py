"""Experiments that take a second."""

from dive.config.compose import compose_resolved

FEW_IMAGES = (
    *("data=garments", "data.num_train=320", "data.num_test=64", "data.val_size=64"),
    *("trainer=cpu", "trainer.max_epochs=3"),
)


def shortened(experiment: str) -> tuple[str, ...]:
    """The overrides of an experiment on few images, or on its own numbers."""
    words = (f"experiment={experiment}", "trainer=cpu")
    own = compose_resolved(*words)["data"]["_target_"]
    return (*words, *FEW_IMAGES) if own == "dive.data.FashionMNISTDataModule" else words
