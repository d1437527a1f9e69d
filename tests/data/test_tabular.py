"""CSV data, compared with pandas; validation rows do not leak into training rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dive.data import CSVDataModule
from dive.data.feature_encoding import FeatureEncoding
from dive.errors import DataError

HOUSES = "pkg://dive.data/house_tiny.csv"


def make_data(path: str | Path = HOUSES, target: str = "Price", **settings: Any) -> CSVDataModule:
    arguments = {"val_fraction": 0.25, "split_seed": 2, "standardize": False, "batch_size": 4} | settings
    return CSVDataModule(str(path), target, **arguments)


def make_houses(count: int = 40) -> pd.DataFrame:
    """Rows with missing rooms and roofs."""
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rooms": np.where(draw.random(count) < 0.2, np.nan, draw.integers(1, 9, count)),
            "garden": draw.random(count) < 0.5,
            "roof": draw.choice(np.array(["Slate", "Tile", None], dtype=object), count),
            "price": draw.normal(1e5, 1e4, count),
        }
    )


def write_csv(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "houses.csv"
    frame.to_csv(path, index=False)
    return path


def test_encoding_of_the_book_example() -> None:
    data = make_data()
    assert data.feature_names == ["NumRooms", "RoofType=Slate", "RoofType missing"]
    assert data.num_inputs == 3
    train, val, test = data.splits
    # NumRooms 3 is the mean of the training rows.
    assert train.inputs.tolist() == [[2, 0, 1], [4, 1, 0], [3, 0, 1]]
    assert train.targets.tolist() == [[106000], [178100], [140000]]
    assert (val.inputs.tolist(), val.targets.tolist(), test) == ([[3, 0, 1]], [[127500]], None)


def test_encoding_matches_pandas_get_dummies(tmp_path: Path) -> None:
    frame = make_houses()
    data = make_data(write_csv(frame, tmp_path), "price")
    train = data._rows.train
    expected = pd.get_dummies(train.drop(columns="price"), columns=["roof"], dummy_na=True, dtype=float)
    expected = expected.fillna({"rooms": train["rooms"].mean()}).astype("float32")
    assert data.feature_names == ["rooms", "garden", "roof=Slate", "roof=Tile", "roof missing"]
    torch.testing.assert_close(data.splits.train.inputs, torch.from_numpy(expected.to_numpy()), rtol=0, atol=0)


def test_standardized_columns_have_mean_0_and_deviation_1_over_the_training_rows(tmp_path: Path) -> None:
    frame = make_houses().dropna()
    data = make_data(write_csv(frame, tmp_path), "price", standardize=True)
    train = data._rows.train
    inputs, targets = data.splits.train.inputs, data.splits.train.targets
    for numbers in (inputs[:, 0], inputs[:, 1], targets[:, 0]):
        torch.testing.assert_close(numbers.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
        torch.testing.assert_close(numbers.std(correction=0), torch.tensor(1.0), rtol=1e-5, atol=0)
    val = (data._rows.val["price"] - train["price"].mean()) / train["price"].std(ddof=0)
    np.testing.assert_allclose(data.splits.val.targets[:, 0].numpy(), val, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_denormalized_targets_equal_the_file(standardize: bool, tmp_path: Path) -> None:
    data = make_data(write_csv(make_houses(), tmp_path), "price", standardize=standardize)
    for rows, part in ((data._rows.train, data.splits.train), (data._rows.val, data.splits.val)):
        np.testing.assert_allclose(data.denormalize(part.targets)[:, 0], rows["price"], rtol=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_validation_rows_do_not_leak_into_training_rows(standardize: bool, tmp_path: Path) -> None:
    frame = make_houses()
    before = make_data(write_csv(frame, tmp_path), "price", standardize=standardize)
    train, names = before.splits.train, before.feature_names
    frame.loc[before._rows.val.index, ["rooms", "roof", "price"]] = [1000, "Gold", 1e9]
    after = make_data(write_csv(frame, tmp_path), "price", standardize=standardize)
    assert after.feature_names == names
    assert torch.equal(after.splits.train.inputs, train.inputs)
    assert torch.equal(after.splits.train.targets, train.targets)
    assert after.splits.val.inputs[:, 2:].count_nonzero() == 0  # gold is neither slate nor tile nor missing


def test_empty_and_constant_columns_are_encoded_as_zeros() -> None:
    rows = pd.DataFrame({"empty": [np.nan, np.nan], "same": [3.0, 3.0]})
    assert FeatureEncoding.fit(rows, standardize=True)(rows).tolist() == [[0, 0], [0, 0]]


def test_split_depends_on_split_seed_and_leaves_a_row_in_each_split(tmp_path: Path) -> None:
    path = write_csv(make_houses(), tmp_path)
    val_rows = [
        set(make_data(path, "price", **seeds)._rows.val.index) for seeds in ({}, {"seed": 1}, {"split_seed": 1})
    ]
    assert val_rows[0] == val_rows[1] != val_rows[2]
    assert len(val_rows[0]) == 10
    path = write_csv(make_houses(2), tmp_path)
    for fraction in (0.01, 0.99):
        assert [len(part) for part in make_data(path, "price", val_fraction=fraction).splits[:2]] == [1, 1]


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (None, "y", "there is no such file"),
        ("", "y", "not a CSV file"),
        ("x,y\n1,2\n1,2,3\n", "y", "not a CSV file"),
        ("x,y\n1,2\n3,4\n", "z", "data.target=z: unknown; choose from x, y"),
        ("x,price\n1,2\n3,4\n", "prize", "did you mean 'price'"),
        ("y\n1\n2\n", "y", "must have at least two comma-separated columns, got 'y'"),
        ("x;y\n1;2\n3;4\n", "y", "at least two comma-separated columns, got 'x;y'"),
        ("x,y\n1,2\n", "y", "must have at least two rows, got 1"),
        ("x,y\n1,2\n3,b\n", "y", "line 3: y must be a number below 1e38, got b"),
        ("x,y\n1,2\n\n\n4,\n", "y", "line 5: y must be a number below 1e38, got nan"),
        ("x,y\n1,2\n3,1e300\n", "y", "line 3: y must be a number below 1e38, got 1e+300"),
        ("x,y\n0,1,2\n1,3,4\n", "y", "a line has more fields than the header"),
        ("x,y\n1,2\n3,\n", "y", "line 3: y must be a number below 1e38, got nan"),
        ("x,y\ninf,2\n3,4\n", "y", "line 2: x must be a number below 1e38, got inf"),
    ],
)
def test_invalid_files_raise_one_line_errors(
    content: str | None, target: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        make_data(path, target).num_inputs  # noqa: B018  # reads the file
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_val_fraction_out_of_range_is_rejected() -> None:
    for fraction in (0, 1):
        with pytest.raises(ValueError, match="val_fraction must be between 0 and 1"):
            make_data(val_fraction=fraction)


def test_name_and_num_bytes_come_from_the_file(tmp_path: Path) -> None:
    path = write_csv(make_houses(), tmp_path)
    assert (make_data().name, make_data(path, "price").name) == ("house_tiny", "houses")
    assert make_data(path, "price").num_bytes == 4 * path.stat().st_size
    assert make_data(tmp_path / "missing.csv").num_bytes == 0


def test_zip_files_folders_trailing_commas_and_gzip(tmp_path: Path) -> None:
    (tmp_path / "table.zip").write_text("not an archive")
    with pytest.raises(DataError, match="not a CSV file: File is not a zip file"):
        make_data(tmp_path / "table.zip").num_inputs  # noqa: B018  # reads the file
    with pytest.raises(DataError, match="there is no such file"):
        make_data(tmp_path).num_inputs  # noqa: B018  # reads the file
    (tmp_path / "commas.csv").write_text("x,y\n1,2,\n3,4,\n")  # one more at the end of each line
    parts = make_data(tmp_path / "commas.csv", "y").splits[:2]
    assert sorted((int(part.inputs), int(part.targets)) for part in parts) == [(1, 2), (3, 4)]
    frame = make_houses()
    frame.to_csv(tmp_path / "houses.csv.gz", index=False)
    assert make_data(tmp_path / "houses.csv.gz", "price").num_inputs == 5


def test_warning_for_a_column_of_dates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = make_houses().assign(sold=[f"2026-01-{day:02}" for day in range(1, 41)])
    assert make_data(write_csv(frame, tmp_path), "price").num_inputs == 5 + 31
    assert "sold has 30 categories, each of which becomes an input" in caplog.text


@pytest.mark.parametrize("path", ["pkg://dive.data/../cli.py", "pkg://dive.data//etc/passwd", "pkg://dive.data/"])
def test_a_path_into_the_package_cannot_leave_it(path: str) -> None:
    with pytest.raises(ValueError, match="must be followed by a file name"):
        CSVDataModule(path, "Price", 0.25, 2, True, batch_size=4)
