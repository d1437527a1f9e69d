"""A training loop with less overhead per step, with Lightning's own loop as the fallback."""
