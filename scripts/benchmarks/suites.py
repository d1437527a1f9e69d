"""The benchmark suites. Each yields its rows as they are measured; its docstring is its title."""

from collections.abc import Iterator

from benchmarks import operations, processes
from benchmarks.baselines import D2LTrainer, HandWritten, ItemDataLoader, PerStepLogging, is_d2l_installed
from benchmarks.epochs import time_epochs
from benchmarks.report import Row
from dive.config.compose import compose_resolved
from dive.errors import DataError
from dive.training import instantiate

HAND = "hand-written loop"
SWEEP_JOBS = 16
Images = tuple[str, ...]


def image_data_overrides() -> Images:
    """Fashion-MNIST if present, else as many synthetic garments; validated on the test set, as in the book."""
    try:
        instantiate.instantiate_datamodule(compose_resolved("model=mlp", "data.download=false")).setup()
    except DataError:
        return "data=garments", "data.num_train=60000", "data.num_test=10000", "data.val_size=0"
    return ("data.val_size=0",)


def epochs(pairs: int, images: Images) -> Iterator[Row]:
    """One epoch."""
    for model, data, bound in (("mlp", images, 1.10), ("softmax_regression", images, 1.5)):
        yield Row(model, HAND, time_epochs(HandWritten, (f"model={model}", *data), pairs), bound)
    linear = "model=linear_regression"
    yield Row("linear_regression", HAND, time_epochs(HandWritten, (linear,), 5 * pairs), 1.5)
    large = time_epochs(HandWritten, (linear, "data.num_train=60000"), pairs)
    yield Row("linear_regression on 60,000 examples", HAND, large, 1.5)
    mlp = ("model=mlp", *images)
    per_step = time_epochs(PerStepLogging, mlp, max(2, pairs // 2))
    yield Row("mlp", "plain Lightning, logging in each step", per_step, 1.0)
    fashion_mnist = "data=garments" not in images
    for name, baseline, available in (
        ("torchvision's dataset, image by image", ItemDataLoader, fashion_mnist),
        ("the book's trainer and data loader (d2l)", D2LTrainer, fashion_mnist and is_d2l_installed()),
    ):
        yield Row("mlp", name, time_epochs(baseline, mlp, max(2, pairs // 4)) if available else None, 1.0)


def executions(pairs: int, images: Images) -> Iterator[Row]:
    """One epoch, by `trainer.steps_per_execution`."""
    for model, data, factor in (
        ("mlp", images, 1),
        ("softmax_regression", images, 1),
        ("linear_regression", (), 5),
    ):
        for steps in (1, 10, 50, 250):
            overrides = (f"model={model}", f"trainer.steps_per_execution={steps}", *data)
            yield Row(
                f"{model}, steps_per_execution={steps}", HAND, time_epochs(HandWritten, overrides, factor * pairs)
            )


def book_operations(pairs: int, images: Images) -> Iterator[Row]:
    """Operations of the book."""
    yield Row("adding two vectors of 10,000 (3.1.2)", "element by element", operations.time_addition(pairs), 1.0)
    reading = operations.time_reading(max(2, pairs // 8)) if "data=garments" not in images else None
    yield Row(
        "reading 60,000 images at 32 by 32 (4.2; the book: 13.42 s)", "torchvision, image by image", reading, 1.0
    )


def start_up(pairs: int, images: Images) -> Iterator[Row]:
    """Start-up and memory."""
    repeats = max(2, pairs // 4)
    for words in (["--help"], ["--cfg", "job"], ["--info", "config"]):
        yield Row(
            f"`train.py {' '.join(words)}`",
            "`import hydra`",
            processes.time_start_up(words, "import hydra", repeats),
        )
    mlp = ("model=mlp", "trainer=cpu", *images)
    imports = f"`{processes.IMPORT}`"
    first_step = processes.time_first_step(mlp, repeats)
    yield Row("`train.py model=mlp` until the end of its first step", imports, first_step)
    memory = processes.measure_memory(mlp, 70000, max(2, pairs // 8))
    holder = "a process that imports torch and Lightning and holds the images as bytes and as floats"
    yield Row("peak memory of `train.py model=mlp`", holder, memory, 1.3, "MB")


def tensorboard(pairs: int, images: Images) -> Iterator[Row]:
    """TensorBoard callbacks."""
    mlp = ("model=mlp", "trainer=cpu", *images)
    timings = processes.time_runs(mlp, [*mlp, "callbacks=lean"], max(3, pairs // 3))
    yield Row("mlp, ten epochs, with images, histograms, texts and the graph", "`callbacks=lean`", timings, 1.10)


def sweep(_: int, images: Images) -> Iterator[Row]:
    """Sweep."""
    timings = processes.time_sweeps(("model=mlp", *images), SWEEP_JOBS)
    yield Row(f"{SWEEP_JOBS} jobs of one epoch, `launcher=parallel`", "`launcher=serial`", timings, 1.0)


SUITES = {
    "epochs": epochs,
    "executions": executions,
    "operations": book_operations,
    "start-up": start_up,
    "inspection": tensorboard,
    "sweep": sweep,
}
