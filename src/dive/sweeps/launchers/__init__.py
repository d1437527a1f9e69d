"""Where the jobs of a sweep run: a local process pool, another Hydra launcher, or SLURM."""
