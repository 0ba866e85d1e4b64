"""The detector of our own: a small network that finds faces, its plain torch form and its C++ engine."""
