"""The built-in synthetic clothing data set."""
