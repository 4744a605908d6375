"""The boring blocks: backbones and decoders."""
