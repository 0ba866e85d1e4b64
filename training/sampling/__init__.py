"""From annotated faces to batches of crops, on the CPU or on the training device."""
