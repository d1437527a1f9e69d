"""Predictions of a model, and figures of them."""
