"""Hydra configuration: composing, validating, naming."""
