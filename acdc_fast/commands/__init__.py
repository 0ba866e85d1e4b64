"""The command line: `cli` reads the arguments, every other file is one command."""
