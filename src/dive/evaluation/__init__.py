"""Finished runs, looked at again by their directories: scored, run again, compared, exported."""
