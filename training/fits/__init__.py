"""What is fitted to faces after a run: refinement, confidence, visibility, pose, presence, early exit."""
