"""What tests of several rooms share: `from helpers.NAME import …`."""
