"""Where clips come from: toy clips, DAVIS, YouTube-VOS, composites, your own video."""
