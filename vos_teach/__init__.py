"""Video object segmentation, from OSVOS to transformers: one lecture as code that runs."""

__version__ = "0.1.0"
