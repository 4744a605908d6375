"""Stage 3, flow propagation: motion moves the last mask, and is an input of its own."""
