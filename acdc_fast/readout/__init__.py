"""From the moments of attention maps to what users get: confidence, pose, refined points, plain numbers."""
