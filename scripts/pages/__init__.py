"""The figures of the book pages: one module per page, one function per figure."""
