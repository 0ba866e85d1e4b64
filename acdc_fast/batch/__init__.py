"""One job over many pictures, which takes up where it was cut off."""
