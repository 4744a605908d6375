"""Stage 1, online learning: OSVOS."""
