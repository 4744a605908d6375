"""Makes the figures of README and lectures, from toy clips alone: `python lectures/figures/make.py`."""

from pathlib import Path

from vos_teach import engine, registry, viz
from vos_teach.data import toy

HERE = Path(__file__).parent


def osvos_at_work() -> None:
    """README's picture: truth, the first mask kept, and OSVOS, over one toy clip."""
    clip = {clip.name: clip for clip in toy.suite()}["look-alike"]
    results = {"truth": clip.masks}
    for name, options in {"copy-first": {}, "osvos": {"steps": 100}}.items():
        results[name] = engine.run(registry.make(name, scale="toy", **options), clip).masks
    viz.save(HERE / "osvos.png", viz.contact_sheet(clip, results, n_frames=5, width=240))


if __name__ == "__main__":
    osvos_at_work()
