"""Our own detector, a small network that finds faces: plain torch network and C++ engine."""
