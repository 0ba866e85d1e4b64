"""Rendered faces with exact labels, from the ICT-FaceKit model. See docs/concepts/rendered-faces.md."""
