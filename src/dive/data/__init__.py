"""The LightningDataModules: whole sets in memory, batches by indexing."""

from dive.data.fashion_mnist import FashionMNIST
from dive.data.garments import Garments
from dive.data.synthetic import SyntheticRegression
from dive.data.tabular import Tabular

__all__ = ["FashionMNIST", "Garments", "SyntheticRegression", "Tabular"]
