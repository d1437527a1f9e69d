"""Deferred imports of packages that are slow to import and rarely needed."""
