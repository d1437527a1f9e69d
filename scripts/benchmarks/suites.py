"""All comparisons that are made, part by part. Each part yields its rows as they come."""

from collections.abc import Iterator

from benchmarks import operations, processes
from benchmarks.baselines import D2LTrainer, HandWritten, ItemDataLoader, PerStepLogging, book_is_here
from benchmarks.epochs import against
from benchmarks.report import Row
from dive.config.compose import compose_resolved
from dive.errors import DataError
from dive.training import instantiate

HAND = "a loop written by hand"
SWEEP_JOBS = 16
Images = tuple[str, ...]


def image_data() -> Images:
    """Fashion-MNIST where it is; else as many drawn garments. Validated on the test set, as in the book."""
    try:
        instantiate.instantiate_datamodule(compose_resolved("model=mlp", "data.download=false")).setup()
    except DataError:
        return "data=garments", "data.num_train=60000", "data.num_test=10000", "data.val_size=0"
    return ("data.val_size=0",)


def epochs(pairs: int, images: Images) -> Iterator[Row]:
    """One epoch."""
    for model, data, bound in (("mlp", images, 1.10), ("softmax_regression", images, 1.5)):
        yield Row(model, HAND, against(HandWritten, (f"model={model}", *data), pairs), bound)
    yield Row("linear_regression", HAND, against(HandWritten, ("model=linear_regression",), 5 * pairs), 1.5)
    many = against(HandWritten, ("model=linear_regression", "data.num_train=60000"), pairs)
    yield Row("linear_regression on 60,000 examples", HAND, many, 1.5)
    mlp = ("model=mlp", *images)
    yield Row("mlp", "plain Lightning, logging each step", against(PerStepLogging, mlp, max(2, pairs // 2)), 1.0)
    published = "data=garments" not in images
    for name, peer, here in (
        ("torchvision's data set, image by image", ItemDataLoader, published),
        ("the book's own trainer and loader (d2l)", D2LTrainer, published and book_is_here()),
    ):
        yield Row("mlp", name, against(peer, mlp, max(2, pairs // 4)) if here else None, 1.0)


def executions(pairs: int, images: Images) -> Iterator[Row]:
    """One epoch, by `trainer.steps_per_execution`."""
    for model, data, many in (("mlp", images, 1), ("softmax_regression", images, 1), ("linear_regression", (), 5)):
        for steps in (1, 10, 50, 250):
            overrides = (f"model={model}", f"trainer.steps_per_execution={steps}", *data)
            yield Row(f"{model}, {steps} at once", HAND, against(HandWritten, overrides, many * pairs))


def single(pairs: int, images: Images) -> Iterator[Row]:
    """Single operations of the book."""
    yield Row("adding two vectors of 10,000 (3.1.2)", "number by number", operations.addition(pairs), 1.0)
    read = operations.reading(max(2, pairs // 8)) if "data=garments" not in images else None
    yield Row(
        "reading 60,000 images at 32 by 32 (4.2; the book: 13.42 s)", "torchvision, image by image", read, 1.0
    )


def start_up(pairs: int, images: Images) -> Iterator[Row]:
    """Start-up and memory."""
    few = max(2, pairs // 4)
    for words in (["--help"], ["--cfg", "job"], ["--info", "config"]):
        yield Row(
            f"`train.py {' '.join(words)}`", "`import hydra`", processes.start_up(words, "import hydra", few)
        )
    mlp = ("model=mlp", "trainer=cpu", *images)
    bare = f"`{processes.IMPORT}`"
    yield Row("`train.py model=mlp`, to its first step", bare, processes.first_step(mlp, few))
    held = processes.memory(mlp, 70000, max(2, pairs // 8))
    yield Row("most memory of `train.py model=mlp`", f"{bare}, images as bytes and as floats", held, 1.3, "MB")


def inspection(pairs: int, images: Images) -> Iterator[Row]:
    """What TensorBoard shows."""
    mlp = ("model=mlp", "trainer=cpu", *images)
    shown = processes.runs(mlp, [*mlp, "callbacks=lean"], max(3, pairs // 3))
    yield Row("mlp, ten epochs, with pictures, histograms, texts and the graph", "`callbacks=lean`", shown, 1.10)


def sweep(_: int, images: Images) -> Iterator[Row]:
    """A sweep."""
    whole = processes.sweeps(("model=mlp", *images), SWEEP_JOBS)
    yield Row(f"{SWEEP_JOBS} jobs of one epoch, `launcher=parallel`", "`launcher=serial`", whole, 1.0)


PARTS = {
    "epochs": epochs,
    "executions": executions,
    "operations": single,
    "start-up": start_up,
    "inspection": inspection,
    "sweep": sweep,
}
