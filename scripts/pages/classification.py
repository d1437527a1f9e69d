"""Pictures of docs/classification.md, of the published Fashion-MNIST."""

import torch
from matplotlib.figure import Figure
from pytorch_lightning import seed_everything

from dive.config.compose import compose_resolved
from dive.data.image_datamodule import FashionImageDataModule
from dive.notebook import Trainer, show_images
from dive.training import instantiate
from pages.style import subplots

EXPERIMENT = "experiment=softmax_regression"


def fashion_mnist() -> Figure:
    """The first images of the test set with their labels (book 4.2.3)."""
    data = _images()
    images, labels = data.splits.val.__getitems__(slice(18))
    return show_images(images, 2, 9, titles=data.text_labels(labels))


def overconfidence() -> Figure:
    """Minus the logarithm of a probability: what the cross-entropy charges for it (book 4.1.3)."""
    figure, (axes,) = subplots(width=4.4)
    p = torch.linspace(0.005, 1, 400)
    axes.plot(p, -p.log())
    axes.set(xlabel="probability of the true class", ylabel="loss of the example")
    return figure


def softmax_regression_curves() -> Figure:
    """Loss and accuracy of softmax regression over its epochs (book 4.5.3)."""
    history = _trained()[0].history
    figure, axes = subplots(2)
    for panel, metric in zip(axes, ("loss", "acc"), strict=True):
        for split, style in (("train", "-"), ("val", "--")):
            values = [row[f"{split}/{metric}"] for row in history]
            panel.plot(range(1, len(values) + 1), values, style, marker=".", label=f"{split}/{metric}")
        panel.set(xlabel="epoch", title=metric)
        panel.legend()
    return figure


def mistakes() -> Figure:
    """Images that softmax regression takes for something else: the true label above, the predicted one below."""
    trainer, data = _trained()
    images, labels = data.splits.val.__getitems__(slice(1000))
    with torch.no_grad():
        predicted = trainer.task(images).argmax(1)
    wrong = (predicted != labels).nonzero().flatten()[:18]
    pairs = zip(data.text_labels(labels[wrong]), data.text_labels(predicted[wrong]), strict=True)
    return show_images(images[wrong], 2, 9, titles=["\n".join(pair) for pair in pairs])


def _images() -> FashionImageDataModule:
    data = instantiate.instantiate_datamodule(compose_resolved(EXPERIMENT))
    assert isinstance(data, FashionImageDataModule)
    data.prepare_data()
    return data


def _trained() -> tuple[Trainer, FashionImageDataModule]:
    config = compose_resolved(EXPERIMENT)
    seed_everything(config["seed"], verbose=False)
    data = _images()
    trainer = Trainer(config["trainer"]["max_epochs"])
    trainer.fit(instantiate.instantiate_task(config, data), data)
    return trainer, data
