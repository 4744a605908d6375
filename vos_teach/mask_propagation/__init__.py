"""Stage 2, mask propagation: the last frame's mask is an input."""
