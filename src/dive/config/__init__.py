"""Hydra configuration: composition, validation, naming."""
