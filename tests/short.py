"""Overrides that shorten any experiment to about a second."""

from dive.config.compose import compose_resolved

FEW_IMAGES = (
    *("data=garments", "data.num_train=320", "data.num_test=64", "data.val_size=64"),
    *("trainer=cpu", "trainer.max_epochs=3"),
)


def shortened(experiment: str) -> tuple[str, ...]:
    """The overrides of an experiment: on a few synthetic images instead of Fashion-MNIST, or on its own data."""
    overrides = (f"experiment={experiment}", "trainer=cpu")
    data_class = compose_resolved(*overrides)["data"]["_target_"]
    return (*overrides, *FEW_IMAGES) if data_class == "dive.data.FashionMNISTDataModule" else overrides
