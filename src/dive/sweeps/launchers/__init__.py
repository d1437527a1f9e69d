"""Where the jobs of a sweep run: a process pool, another Hydra launcher, SLURM."""
