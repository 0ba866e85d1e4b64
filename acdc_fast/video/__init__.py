"""Faces from frame to frame, and films in and out."""
