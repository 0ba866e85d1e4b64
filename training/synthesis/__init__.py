"""Rendered faces with exact labels, from the ICT-FaceKit model. See docs/synthesis.md."""
