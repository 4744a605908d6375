"""Memory networks and transformers: look it up in past frames, attend everywhere, follow all objects at once."""
