"""Building and training one configured run."""
