"""The LightningDataModules: whole sets in memory, batches by indexing."""

from dive.data.fashion_mnist import FashionMNISTDataModule
from dive.data.synthetic import SyntheticRegression
from dive.data.synthetic_garments.datamodule import SyntheticGarments
from dive.data.tabular import CSVDataModule

__all__ = [
    "CSVDataModule",
    "FashionMNISTDataModule",
    "SyntheticGarments",
    "SyntheticRegression",
]
