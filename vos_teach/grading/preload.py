"""What the server of worker processes imports once: everything that judging needs, so that a worker starts at once."""

from importlib import import_module

for name in ("judge", "pool"):
    import_module(f"vos_teach.grading.{name}")
