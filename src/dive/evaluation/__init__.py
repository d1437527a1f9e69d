"""Evaluate, reproduce, compare and export finished runs from their directories."""
