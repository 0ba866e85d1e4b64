"""One job over many pictures. If it was cut off, the same job goes on where it ended."""
