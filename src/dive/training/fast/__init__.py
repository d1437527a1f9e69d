"""A training loop with less overhead per step; without private names of Lightning, its own loop is used."""
