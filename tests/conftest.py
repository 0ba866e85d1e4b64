"""Puts this folder on the path, so that tests in every room can import its helpers (`small`, `loops`)."""
