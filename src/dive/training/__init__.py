"""Instantiate and train one configured run."""
