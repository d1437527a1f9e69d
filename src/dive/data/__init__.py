"""The LightningDataModules: whole sets in memory, batches by indexing."""

from dive.data.fashion_mnist import FashionMNIST
from dive.data.garments import Garments
from dive.data.synthetic import SyntheticRegression

__all__ = ["FashionMNIST", "Garments", "SyntheticRegression"]
