"""Training of the detector: faces and their boxes, collages of them, the loss, the loop."""
