"""Tables, against pandas' own indicators and means; nothing of validation rows gets into training rows."""

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


def table(path: str | Path = HOUSES, target: str = "Price", **settings: Any) -> CSVDataModule:
    given = {"val_fraction": 0.25, "split_seed": 2, "standardize": False, "batch_size": 4} | settings
    return CSVDataModule(str(path), target, **given)


def houses(count: int = 40) -> pd.DataFrame:
    """Some with missing rooms and roofs."""
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rooms": np.where(draw.random(count) < 0.2, np.nan, draw.integers(1, 9, count)),
            "garden": draw.random(count) < 0.5,
            "roof": draw.choice(np.array(["Slate", "Tile", None], dtype=object), count),
            "price": draw.normal(1e5, 1e4, count),
        }
    )


def written(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "houses.csv"
    frame.to_csv(path, index=False)
    return path


def test_the_book_s_table_becomes_the_book_s_numbers() -> None:
    data = table()
    assert data.feature_names == ["NumRooms", "RoofType=Slate", "RoofType missing"]
    assert data.num_inputs == 3
    train, val, test = data.splits
    # NumRooms 3 is the mean of those rows that are trained on.
    assert train.inputs.tolist() == [[2, 0, 1], [4, 1, 0], [3, 0, 1]]
    assert train.targets.tolist() == [[106000], [178100], [140000]]
    assert (val.inputs.tolist(), val.targets.tolist(), test) == ([[3, 0, 1]], [[127500]], None)


def test_it_encodes_as_pandas_does(tmp_path: Path) -> None:
    frame = houses()
    data = table(written(frame, tmp_path), "price")
    train = data._rows.train
    expected = pd.get_dummies(train.drop(columns="price"), columns=["roof"], dummy_na=True, dtype=float)
    expected = expected.fillna({"rooms": train["rooms"].mean()}).astype("float32")
    assert data.feature_names == ["rooms", "garden", "roof=Slate", "roof=Tile", "roof missing"]
    torch.testing.assert_close(data.splits.train.inputs, torch.from_numpy(expected.to_numpy()), rtol=0, atol=0)


def test_standardized_numbers_have_mean_0_and_deviation_1_over_the_training_rows(tmp_path: Path) -> None:
    frame = houses().dropna()
    data = table(written(frame, tmp_path), "price", standardize=True)
    train = data._rows.train
    inputs, targets = data.splits.train.inputs, data.splits.train.targets
    for numbers in (inputs[:, 0], inputs[:, 1], targets[:, 0]):
        torch.testing.assert_close(numbers.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
        torch.testing.assert_close(numbers.std(correction=0), torch.tensor(1.0), rtol=1e-5, atol=0)
    val = (data._rows.val["price"] - train["price"].mean()) / train["price"].std(ddof=0)
    np.testing.assert_allclose(data.splits.val.targets[:, 0].numpy(), val, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_targets_in_their_units_are_those_of_the_file(standardize: bool, tmp_path: Path) -> None:
    data = table(written(houses(), tmp_path), "price", standardize=standardize)
    for rows, part in ((data._rows.train, data.splits.train), (data._rows.val, data.splits.val)):
        np.testing.assert_allclose(data.denormalize(part.targets)[:, 0], rows["price"], rtol=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_what_validation_rows_hold_does_not_reach_training_rows(standardize: bool, tmp_path: Path) -> None:
    frame = houses()
    before = table(written(frame, tmp_path), "price", standardize=standardize)
    train, names = before.splits.train, before.feature_names
    frame.loc[before._rows.val.index, ["rooms", "roof", "price"]] = [1000, "Gold", 1e9]
    after = table(written(frame, tmp_path), "price", standardize=standardize)
    assert after.feature_names == names
    assert torch.equal(after.splits.train.inputs, train.inputs)
    assert torch.equal(after.splits.train.targets, train.targets)
    assert after.splits.val.inputs[:, 2:].count_nonzero() == 0  # gold is neither slate nor tile nor missing


def test_columns_without_a_number_or_without_spread_become_zeros() -> None:
    rows = pd.DataFrame({"empty": [np.nan, np.nan], "same": [3.0, 3.0]})
    assert FeatureEncoding.of(rows, standardize=True)(rows).tolist() == [[0, 0], [0, 0]]


def test_the_split_is_drawn_by_its_own_seed_and_leaves_a_row_to_either_side(tmp_path: Path) -> None:
    path = written(houses(), tmp_path)
    drawn = [set(table(path, "price", **seeds)._rows.val.index) for seeds in ({}, {"seed": 1}, {"split_seed": 1})]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 10
    path = written(houses(2), tmp_path)
    for fraction in (0.01, 0.99):
        assert [len(part) for part in table(path, "price", val_fraction=fraction).splits[:2]] == [1, 1]


@pytest.mark.parametrize(
    ("content", "target", "says"),
    [
        (None, "y", "there is no such file"),
        ("", "y", "is no CSV file"),
        ("x,y\n1,2\n1,2,3\n", "y", "is no CSV file"),
        ("x,y\n1,2\n3,4\n", "z", "data.target=z: unknown; choose from x, y"),
        ("x,price\n1,2\n3,4\n", "prize", "did you mean 'price'"),
        ("y\n1\n2\n", "y", "two columns at least, with commas between them, got 'y'"),
        ("x;y\n1;2\n3;4\n", "y", "with commas between them, got 'x;y'"),
        ("x,y\n1,2\n", "y", "must have two rows at least, got 1"),
        ("x,y\n1,2\n3,b\n", "y", "line 3: y must be a number below 1e38, got b"),
        ("x,y\n1,2\n\n\n4,\n", "y", "line 5: y must be a number below 1e38, got nan"),
        ("x,y\n1,2\n3,1e300\n", "y", "line 3: y must be a number below 1e38, got 1e+300"),
        ("x,y\n0,1,2\n1,3,4\n", "y", "a line has more fields than the first line names"),
        ("x,y\n1,2\n3,\n", "y", "line 3: y must be a number below 1e38, got nan"),
        ("x,y\ninf,2\n3,4\n", "y", "line 2: x must be a number below 1e38, got inf"),
    ],
)
def test_a_file_that_will_not_do_is_told_in_one_line(
    content: str | None, target: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as told:
        table(path, target).num_inputs  # noqa: B018  # the file is read when the model wants to know
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_fraction_that_cannot_be_is_refused() -> None:
    for fraction in (0, 1):
        with pytest.raises(ValueError, match="val_fraction must be between 0 and 1"):
            table(val_fraction=fraction)


def test_it_is_named_by_its_file_and_sized_by_it(tmp_path: Path) -> None:
    path = written(houses(), tmp_path)
    assert (table().name, table(path, "price").name) == ("house_tiny", "houses")
    assert table(path, "price").num_bytes == 4 * path.stat().st_size
    assert table(tmp_path / "missing.csv").num_bytes == 0


def test_what_else_a_file_may_be(tmp_path: Path) -> None:
    (tmp_path / "table.zip").write_text("no archive")
    with pytest.raises(DataError, match="is no CSV file: File is not a zip file"):
        table(tmp_path / "table.zip").num_inputs  # noqa: B018  # the file is read when the model wants to know
    with pytest.raises(DataError, match="there is no such file"):
        table(tmp_path).num_inputs  # noqa: B018  # likewise
    (tmp_path / "commas.csv").write_text("x,y\n1,2,\n3,4,\n")  # one more at the end of each line
    parts = table(tmp_path / "commas.csv", "y").splits[:2]
    assert sorted((int(part.inputs), int(part.targets)) for part in parts) == [(1, 2), (3, 4)]
    frame = houses()
    frame.to_csv(tmp_path / "houses.csv.gz", index=False)
    assert table(tmp_path / "houses.csv.gz", "price").num_inputs == 5


def test_a_column_of_dates_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = houses().assign(sold=[f"2026-01-{day:02}" for day in range(1, 41)])
    assert table(written(frame, tmp_path), "price").num_inputs == 5 + 31
    assert "sold holds 30 texts, and each becomes an input" in caplog.text
