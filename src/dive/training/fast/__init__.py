"""A training loop with less overhead per step than Lightning's; the only code that uses Lightning's private names."""
