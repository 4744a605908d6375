"""The exercises of the labs, one module each."""
