"""Helpers for tests of several rooms: `from helpers.NAME import …`."""
