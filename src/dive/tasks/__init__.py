"""LightningModules for training a model, with losses, metrics and optimizers."""
