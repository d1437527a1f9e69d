"""Figures of docs/classification.md, made from Fashion-MNIST."""

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
    data = _load_data()
    images, labels = data.splits.val.__getitems__(slice(18))
    return show_images(images, 2, 9, titles=data.text_labels(labels))


def overconfidence() -> Figure:
    """The cross-entropy loss of an example against the probability of its true class (book 4.1.3)."""
    figure, (axes,) = subplots(width=4.4)
    p = torch.linspace(0.005, 1, 400)
    axes.plot(p, -p.log())
    axes.set(xlabel="probability of the true class", ylabel="loss of the example")
    return figure


def softmax_regression_curves() -> Figure:
    """Loss and accuracy of softmax regression per epoch (book 4.5.3)."""
    history = _train_softmax_regression()[0].history
    figure, axes = subplots(2)
    for panel, metric in zip(axes, ("loss", "acc"), strict=True):
        for split, style in (("train", "-"), ("val", "--")):
            values = [row[f"{split}/{metric}"] for row in history]
            panel.plot(range(1, len(values) + 1), values, style, marker=".", label=f"{split}/{metric}")
        panel.set(xlabel="epoch", title=metric)
        panel.legend()
    return figure


def mistakes() -> Figure:
    """Images that softmax regression misclassifies: true label above, predicted label below."""
    trainer, data = _train_softmax_regression()
    images, labels = data.splits.val.__getitems__(slice(1000))
    with torch.no_grad():
        predicted = trainer.task(images).argmax(1)
    wrong = (predicted != labels).nonzero().flatten()[:18]
    pairs = zip(data.text_labels(labels[wrong]), data.text_labels(predicted[wrong]), strict=True)
    return show_images(images[wrong], 2, 9, titles=["\n".join(pair) for pair in pairs])


def _load_data() -> FashionImageDataModule:
    data = instantiate.instantiate_datamodule(compose_resolved(EXPERIMENT))
    assert isinstance(data, FashionImageDataModule)
    data.prepare_data()
    return data


def _train_softmax_regression() -> tuple[Trainer, FashionImageDataModule]:
    config = compose_resolved(EXPERIMENT)
    seed_everything(config["seed"], verbose=False)
    data = _load_data()
    trainer = Trainer(config["trainer"]["max_epochs"])
    trainer.fit(instantiate.instantiate_task(config, data), data)
    return trainer, data
