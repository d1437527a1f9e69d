"""A training loop with less overhead per step than Lightning's; falls back to Lightning's loop (see availability)."""
