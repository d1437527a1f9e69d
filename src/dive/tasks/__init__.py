"""LightningModules around any of the models."""
