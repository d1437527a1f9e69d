"""LightningDataModules that hold the whole data set in memory and index it for each batch."""

from dive.data.fashion_mnist import FashionMNISTDataModule
from dive.data.synthetic import SyntheticRegression
from dive.data.synthetic_garments.datamodule import SyntheticGarments
from dive.data.tabular import CSVDataModule

__all__ = ["CSVDataModule", "FashionMNISTDataModule", "SyntheticGarments", "SyntheticRegression"]
