"""Helpers for notebooks (book 3.2): methods added cell by cell, live curves, image grids, a readable trainer."""

from dive.notebook.classes import HyperParameters, add_to_class
from dive.notebook.images import show_images
from dive.notebook.progress_board import ProgressBoard
from dive.notebook.trainer import Trainer

__all__ = ["HyperParameters", "ProgressBoard", "Trainer", "add_to_class", "show_images"]
