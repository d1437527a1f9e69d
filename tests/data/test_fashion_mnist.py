"""Fashion-MNIST, compared with torchvision's reader of the same files."""

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.transforms.v2.functional import resize

from dive.data import FashionMNISTDataModule, archive_files, fashion_mnist_files
from dive.data.fashion_mnist import parse_idx
from dive.errors import DataError

Parts = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def make_data(root: Path, **settings: object) -> FashionMNISTDataModule:
    shared = {"resize": [28, 28], "val_size": 10000, "batch_size": 256}
    return FashionMNISTDataModule(
        root, **{"mirror": "http://127.0.0.1:9/", "timeout": 1, "download": False} | shared | settings
    )


@pytest.fixture(scope="module")
def parts(real_data: Path) -> Parts:
    """The training and the test set as read by dive."""
    return make_data(real_data).read()


@pytest.fixture
def read_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reuse files that were verified and unpacked once for all tests."""
    monkeypatch.setattr(FashionMNISTDataModule, "read", lambda _: parts)


@pytest.fixture(scope="module")
def oracle(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[datasets.FashionMNIST]:
    """The training and the test set as torchvision reads the same files."""
    root = tmp_path_factory.mktemp("torchvision")
    folder = archive_files.raw_folder(root)
    folder.mkdir(parents=True)
    for archive in archive_files.raw_folder(real_data).glob("*.gz"):
        (folder / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    return [datasets.FashionMNIST(root, train=train) for train in (True, False)]


def idx(array: np.ndarray) -> bytes:
    """The content of an IDX file."""
    lengths = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 28, 28), (1, 2, 3, 4), (300, 1), (0, 28, 28)])
def test_idx_round_trip(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(256, size=shape)
    parsed = parse_idx(idx(array))
    assert parsed.dtype == torch.uint8
    assert parsed.shape == shape
    assert parsed.tolist() == array.tolist()


def test_parsed_tensors_are_writable() -> None:
    content = idx(np.arange(6).reshape(2, 3))
    parse_idx(content).zero_()
    assert parse_idx(content).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b''"),
        (b"\x1f\x8b\x08\x00", "not an IDX file of unsigned bytes"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "not an IDX file of unsigned bytes"),
        (bytes([0, 0, 8, 2, 0, 0]), "header of 12 bytes, got 6"),
        (idx(np.arange(6).reshape(2, 3))[:-1], r"shape \[2, 3\] must hold 6 values, got 5"),
        (idx(np.arange(6).reshape(2, 3)) + b"\0", r"shape \[2, 3\] must hold 6 values, got 7"),
    ],
    ids=["empty", "compressed", "floats", "truncated header", "too short", "too long"],
)
def test_invalid_idx_files_are_rejected(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_idx(content)


def test_images_and_labels_match_torchvision(parts: Parts, oracle: list[datasets.FashionMNIST]) -> None:
    for (images, labels), expected in zip(parts, oracle, strict=True):
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert torch.equal(images.squeeze(1), expected.data)
        assert torch.equal(labels, expected.targets)


def test_test_split_is_the_official_test_set_as_floats(
    real_data: Path, read_once: None, oracle: list[datasets.FashionMNIST]
) -> None:
    test = make_data(real_data).splits.test
    assert test.inputs.shape == (10000, 1, 28, 28)
    assert test.inputs.dtype == torch.float32
    assert (test.inputs.min(), test.inputs.max()) == (0, 1)
    torch.testing.assert_close(test.inputs.squeeze(1), oracle[1].data / 255, rtol=0, atol=1e-7)
    assert torch.equal(test.targets, oracle[1].targets)
    assert test.targets.bincount().tolist() == [1000] * 10


def fingerprints(images: Tensor) -> Tensor:
    """A number per image, computed from every fifth pixel, exact in float32."""
    pixels = images.flatten(1)[:, ::5].float() * (255 if images.is_floating_point() else 1)
    return pixels.round() @ torch.arange(1.0, 1 + pixels.shape[1])


def test_holdout_and_training_split_are_the_official_training_set(
    real_data: Path, read_once: None, parts: Parts
) -> None:
    train, val, _ = make_data(real_data, val_size=10000).splits
    assert train.inputs.shape == (50000, 1, 28, 28)
    assert val.inputs.shape == (10000, 1, 28, 28)
    both = torch.cat([fingerprints(train.inputs), fingerprints(val.inputs)])
    assert torch.equal(both.sort().values, fingerprints(parts[0][0]).sort().values)
    assert torch.cat([train.targets, val.targets]).bincount().tolist() == [6000] * 10
    assert min(float(train.inputs.min()), float(val.inputs.min())) >= 0
    assert max(float(train.inputs.max()), float(val.inputs.max())) <= 1


def test_holdout_depends_on_split_seed(real_data: Path, read_once: None) -> None:
    held_out = [make_data(real_data, val_size=1000, split_seed=seed).splits.val.targets for seed in (0, 0, 1)]
    assert torch.equal(held_out[0], held_out[1])
    assert not torch.equal(held_out[0], held_out[2])
    assert (held_out[0].bincount(minlength=10) > 50).all()


def test_without_holdout_the_test_set_is_used_for_validation(
    real_data: Path, read_once: None, oracle: list[datasets.FashionMNIST]
) -> None:
    train, val, test = make_data(real_data, val_size=0).splits
    assert (len(train), len(val)) == (60000, 10000)
    assert val is test
    assert torch.equal(val.targets, oracle[1].targets)
    assert torch.equal(train.targets, oracle[0].targets)


def test_holdout_as_large_as_the_training_set_is_rejected(real_data: Path, read_once: None) -> None:
    with pytest.raises(DataError, match=r"data\.val_size=60000: must be below the 60000 training images"):
        make_data(real_data, val_size=60000).load()


def test_resizing_matches_torchvision(
    real_data: Path, parts: Parts, oracle: list[datasets.FashionMNIST], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_data = tuple((images[:600], labels[:600]) for images, labels in parts)
    monkeypatch.setattr(FashionMNISTDataModule, "read", lambda _: small_data)
    data = make_data(real_data, resize=[32, 32], val_size=0)
    assert data.num_inputs == 1024
    expected = resize(oracle[1].data[:600].unsqueeze(1) / 255, [32, 32], antialias=True)
    torch.testing.assert_close(data.splits.test.inputs, expected, rtol=0, atol=1e-5)


def test_class_names_match_torchvision(oracle: list[datasets.FashionMNIST]) -> None:
    expected = [name.lower().removesuffix("/top") for name in oracle[0].classes]
    assert list(FashionMNISTDataModule.class_names) == expected


def test_text_labels_of_the_book(tmp_path: Path) -> None:
    assert make_data(tmp_path).text_labels(torch.tensor([0, 9, 1])) == ["t-shirt", "ankle boot", "trouser"]


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with tiny archives in place of the published ones."""
    rng = np.random.default_rng(0)
    folder = archive_files.raw_folder(tmp_path)
    folder.mkdir(parents=True)
    digests = {}
    for name in archive_files.SHA256:
        shape = (30, 28, 28) if "images" in name else (30,)
        content = idx(rng.integers(10, size=shape))
        archive = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(archive)
        digests[name] = (archive_files.sha256(archive), archive_files.sha256(content))
    monkeypatch.setattr(archive_files, "SHA256", digests)
    return tmp_path


@pytest.fixture
def read_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is read and verified."""
    counts: Counter[str] = Counter()
    read_verified = archive_files.read_verified

    def counting(folder: Path, name: str) -> object:
        counts[name] += 1
        return read_verified(folder, name)

    monkeypatch.setattr(archive_files, "read_verified", counting)
    return counts


def test_files_are_read_once_and_not_cached(small_data: Path, read_counts: Counter[str]) -> None:
    data = make_data(small_data, download=True, val_size=10)
    data.prepare_data()
    data.setup()
    data.prepare_data()
    assert read_counts == dict.fromkeys(archive_files.SHA256, 1)
    assert data._contents == {}


def test_process_without_prepare_data_reads_the_same_data(small_data: Path) -> None:
    prepared = make_data(small_data, download=True, val_size=10)
    prepared.prepare_data()
    ours, expected = prepared.splits, make_data(small_data, download=True, val_size=10).splits
    for one, other in zip(ours, expected, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("download", [True, False])
def test_files_are_downloaded_only_if_enabled(
    download: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(fashion_mnist_files, "ensure_downloaded", lambda *arguments: calls.append(arguments))
    make_data(tmp_path, download=download).prepare_data()
    folder = tmp_path / "FashionMNIST" / "raw"
    assert calls == ([(folder, "http://127.0.0.1:9/", 1)] if download else [])


@pytest.mark.parametrize("mirror", ["file:///srv/", "ftp://host/", "host/", "", "HTTP//x"])
def test_mirror_must_be_an_http_url(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^mirror must begin with http:// or https://, got {mirror}$"):
        make_data(tmp_path, mirror=mirror)


def test_timeout_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0, got 0"):
        make_data(tmp_path, timeout=0)


def test_missing_files_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"Fashion-MNIST is not in {tmp_path}"):
        make_data(tmp_path).train_dataloader()
    assert not list(tmp_path.iterdir())
