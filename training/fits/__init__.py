"""What is fitted after a run, on faces: confidence, pose, refinement, early exit."""
