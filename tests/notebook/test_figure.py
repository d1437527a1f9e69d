"""Image grids and live curves."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dive.notebook import ProgressBoard, show_images

PNG = b"\x89PNG"


def test_show_images_plots_a_grid_with_titles() -> None:
    images = torch.rand(3, 1, 4, 5)
    figure = show_images(images, 2, 2, titles=["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]
    for axes, image in zip(figure.axes, images, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), image[0].numpy())
    assert not figure.axes[3].images
    assert figure._repr_png_().startswith(PNG)


@pytest.mark.parametrize(
    ("shape", "image_shape"), [((2, 4, 5), (4, 5)), ((2, 1, 4, 5), (4, 5)), ((2, 3, 4, 5), (4, 5, 3))]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_grayscale_and_rgb_as_bytes_and_floats(
    shape: tuple[int, ...], image_shape: tuple[int, ...], dtype: Any
) -> None:
    figure = show_images(torch.ones(shape).to(dtype), 1, 2)
    image = figure.axes[0].images[0]
    assert image.get_array().shape == image_shape  # type: ignore[union-attr]  # plotted above
    assert image.get_clim() == (0, 255 if dtype == torch.uint8 else 1)


def test_invalid_images_and_too_few_titles_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 4, 5, 3\)"):
        show_images(torch.zeros(2, 4, 5, 3), 1, 2)
    for bright in (torch.full((2, 4, 5), 255), torch.full((2, 4, 5), 255.0), torch.full((2, 4, 5), -0.1)):
        with pytest.raises(ValueError, match=r"must be uint8 or lie in \[0, 1\], got"):
            show_images(bright, 1, 2)
    with pytest.raises(ValueError, match="one entry for each of the 2 images, got 1"):
        show_images(torch.zeros(2, 4, 5), 1, 2, titles=["a"])


def test_lists_arrays_numeric_titles_and_no_images() -> None:
    assert show_images([torch.rand(4, 5)] * 2, 1, 2, titles=[0, 1]).axes[1].get_title() == "1"
    assert show_images(np.zeros((2, 4, 5)), 1, 2).axes[1].images
    assert not show_images(torch.zeros(0, 4, 5), 1, 2, titles=[]).axes[0].images


def test_unknown_scales_are_rejected() -> None:
    with pytest.raises(ValueError, match="must be linear or log, got lin and linear"):
        ProgressBoard(xscale="lin")  # type: ignore[arg-type]  # that is what is tested


def test_every_n_points_are_averaged(tmp_path: Path) -> None:
    board = ProgressBoard(file=tmp_path / "board.svg")
    for x in range(7):
        board.draw(x, 10 * x, "loss", every_n=3)
        board.draw(x, -x, "acc")
    assert board.curves["loss"] == [(1, 10), (4, 40)]
    assert board.curves["acc"] == [(x, -x) for x in range(7)]
    with pytest.raises(ValueError, match="every_n must be at least 1, got 0"):
        board.draw(0, 0, "loss", every_n=0)


def test_figure_has_curves_labels_and_scales() -> None:
    board = ProgressBoard(xlabel="step", ylabel="loss", yscale="log")
    for x in range(1, 4):
        board.draw(x, 1 / x, "train")
        board.draw(x, 2 / x, "val")
    axes = board.figure().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("step", "loss", "log")
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(lines["val"], [[1, 2], [2, 1], [3, 2 / 3]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "val"]


def test_outside_notebooks_a_file_is_written_at_intervals(tmp_path: Path) -> None:
    board = ProgressBoard(file=tmp_path / "new" / "board.png", min_interval_s=3600)
    board.draw(0, 0, "loss")
    assert not board.file.exists()
    board.show()
    assert board.file.read_bytes().startswith(PNG)
    eager = ProgressBoard(file=tmp_path / "eager.png", min_interval_s=0)
    eager.draw(0, 0, "loss")
    assert eager.file.exists()


def test_in_a_notebook_the_displayed_figure_is_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[tuple[str, bytes]] = []

    class Handle:
        def update(self, figure: Any) -> None:
            displayed.append(("update", figure._repr_png_()))

    def display(figure: Any, display_id: bool) -> Handle:
        assert display_id
        displayed.append(("display", figure._repr_png_()))
        return Handle()

    kernel = types.SimpleNamespace(kernel=object())
    for name in ("IPython", "IPython.display"):
        module: Any = types.ModuleType(name)
        module.get_ipython, module.display = lambda: kernel, display
        monkeypatch.setitem(sys.modules, name, module)
    board = ProgressBoard(file=tmp_path / "board.png", min_interval_s=0)
    for x in range(3):
        board.draw(x, x, "loss")
    assert [how for how, _ in displayed] == ["display", "update", "update"]
    assert all(png.startswith(PNG) for _, png in displayed)
    assert not board.file.exists()
