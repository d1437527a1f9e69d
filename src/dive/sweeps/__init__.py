"""Sweeps: directories of runs named by the parameters that vary, resumable, with failures isolated per job."""
