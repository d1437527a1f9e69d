"""Sweeps: directories of runs that are named by what varies, finish when said again, and survive failures."""
