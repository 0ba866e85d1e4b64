"""What is fitted to faces after a run: refinement, confidence, visibility, pose, orientation, presence, early exit."""
