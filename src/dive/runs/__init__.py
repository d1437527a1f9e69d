"""One run directory: its files, its checkpoints, how it is resumed and interrupted."""
