"""Run directories: files, checkpoints, resuming and interruption."""
