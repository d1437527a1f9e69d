"""The pictures of the book pages: a module a page, a function a picture."""
