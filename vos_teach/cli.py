"""The `vos-teach` command. Thin: each command parses its options and calls the library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vos_teach import listed
from vos_teach.commands_claim import claim_app
from vos_teach.commands_weights import weights_app
from vos_teach.errors import VosError
from vos_teach.grading import commands_class
from vos_teach.grading.commands import app as labs_app

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Video object segmentation, from OSVOS to transformers.",
)

DATA = ("toy, davis (in VOS_TEACH_DAVIS), composites (two clips in one: of that DAVIS where the variable is set, "
        "else of toy clips), or a folder")
SCALE = "of the systems: toy, small or paper; default: toy for toy clips, else small"
FINETUNE = "plain (frame 0, turned and zoomed) or lucid (dreams of it: data/lucid.py)"
WEIGHTS = "trained weights (.safetensors) instead of those that ship; for systems that have any"


@app.callback()
def _root() -> None:
    """Video object segmentation, from OSVOS to transformers."""


@app.command()
def evaluate(
    pred: Annotated[Path, typer.Option(help="predictions: PRED/SEQUENCE/FRAME.png, palette or grey")],
    davis: Annotated[Path, typer.Option("--davis", "--youtube-vos", help="the data set's root folder")],
    task: Annotated[str, typer.Option(help="one-shot or zero-shot")],
    split: Annotated[str, typer.Option(help="list of sequences in ImageSets/")] = "val",
    year: Annotated[int | None, typer.Option(help="2016 or 2017; needed where both are there")] = None,
    sequences: Annotated[str | None, typer.Option(help="NAME,NAME or 'present': those in PRED")] = None,
    json: Annotated[Path | None, typer.Option(help="also write all figures to this file")] = None,
    temporal: Annotated[bool, typer.Option("--temporal", help="also T, temporal stability (slow)")] = False,
    processes: Annotated[int | None, typer.Option(help="default: one per CPU")] = None,
    unseen: Annotated[str | None, typer.Option(help="YouTube-VOS: unseen categories, CAT,CAT")] = None,
) -> None:
    """Score predicted masks: J, F and J&F as DAVIS and YouTube-VOS define them."""
    from vos_teach.metrics import evaluate as score
    from vos_teach.metrics.output import check_writable, print_table, write_json

    if json:
        check_writable(json)
    result = score(
        pred, davis, task, split=split, year=year, temporal=temporal, processes=processes, progress=True,
        sequences="present" if sequences == "present" else listed.sequences(sequences),
        unseen=None if unseen is None else listed.names(unseen),
    )
    print_table(result)
    if json:
        write_json(json, result)


@app.command()
def toy(
    out: Annotated[Path, typer.Option(help="a new or empty folder")],
    split: Annotated[str, typer.Option(help="val (the benchmark) or train (random knobs)")] = "val",
    seed: Annotated[int, typer.Option(min=0, help="other clips; val with seed 0 is the fixed benchmark")] = 0,
    clips: Annotated[int | None, typer.Option(min=1, help="how many; default: 12 for val, 60 for train")] = None,
) -> None:
    """Write toy clips, 96x160, in DAVIS-2017 layout."""
    from vos_teach.data import toy as toys

    made = toys.split(split, clips, seed)
    toys.write(made, out, split)
    print(f"{len(made)} clips in {out}")


@app.command()
def segment(
    system: Annotated[str, typer.Argument(help="which system; a wrong name lists them")],
    clip_dir: Annotated[Path, typer.Argument(help="frames with a first mask, a DAVIS sequence, or a video file")],
    out: Annotated[Path, typer.Option(help="gets CLIP/FRAME.png and CLIP.mp4")],
    height: Annotated[int | None, typer.Option(help="work at this height (at most the clip's own)")] = 240,
    finetune: Annotated[str, typer.Option(help=FINETUNE)] = "plain",
    seconds: Annotated[float | None, typer.Option(help="fine-tuning budget per object")] = None,
    steps: Annotated[int | None, typer.Option(help="fine-tuning budget per object")] = None,
    weights: Annotated[str | None, typer.Option(help=WEIGHTS)] = None,
    scale: Annotated[str, typer.Option(help="of the system: toy, small or paper")] = "small",
    seed: int = 0, device: str = "cpu",
) -> None:
    """Segment a clip: masks as DAVIS palette PNGs, and a film to look at."""
    from tqdm import tqdm

    from vos_teach import demo, registry
    from vos_teach.data import folder

    options = _options([system], seconds, steps, weights, finetune).get(system, {})
    clip = folder.read(clip_dir)
    built = registry.make(system, device=device, scale=scale, **options)
    with tqdm(total=len(clip), desc=f"{system} on {clip.name}", unit="frame", leave=False, disable=None) as bar:
        low = None if height is None else min(height, clip.size[0])
        masks, film = demo.segment(built, clip, out, seed, low, lambda t: bar.update())
    print(f"masks: {masks}\nfilm:  {film}")


@app.command()
def bench(
    systems: Annotated[list[str], typer.Argument(help="names of systems")],
    data: Annotated[str, typer.Option(help=DATA)] = "toy",
    out: Annotated[Path, typer.Option(help="results, and bench.md; run again to go on")] = Path("runs/bench"),
    height: Annotated[int | None, typer.Option(help="systems work at this height; scored at the clip's own")] = 240,
    finetune: Annotated[str, typer.Option(help=FINETUNE)] = "plain",
    seconds: Annotated[float | None, typer.Option(help="fine-tuning budget per object")] = None,
    steps: Annotated[int | None, typer.Option(help="fine-tuning budget per object")] = None,
    weights: Annotated[str | None, typer.Option(help=WEIGHTS)] = None,
    scale: Annotated[str | None, typer.Option(help=SCALE)] = None,
    sequences: Annotated[str | None, typer.Option(help="only these: NAME,NAME")] = None,
    year: Annotated[int | None, typer.Option(help="of DAVIS: 2016 or 2017")] = None,
    seed: int = 0, device: str = "cpu",
    temporal: Annotated[bool, typer.Option("--temporal", help="also T, temporal stability (slow)")] = False,
    save_masks: Annotated[bool, typer.Option("--save-masks", help="also OUT/masks/SYSTEM/CLIP/FRAME.png")] = False,
) -> None:
    """Compare systems: quality, seconds a frame, memory. Goes on where an earlier run was cut."""
    from vos_teach.bench import bench as run
    from vos_teach.data import choose

    options = _options(systems, seconds, steps, weights, finetune)
    clips, what, fitting = choose.clips(data, listed.sequences(sequences), year)
    low = None if height is None or all(clip.size[0] <= height for clip in clips) else height
    print(f"{what}: {len(clips)} clips")
    rows = run(systems, clips, out, seed, low, temporal, data == "composites", save_masks, device, scale or fitting,
               options, what)
    _print_rows(rows, what)
    print(f"written: {out / 'bench.md'} and {out / 'bench.json'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="gets report.html")] = Path("runs/demo"),
    sequences: Annotated[str | None, typer.Option(help="only these: NAME,NAME")] = None,
    year: Annotated[int | None, typer.Option(help="of DAVIS: 2016 or 2017; needed where both are there")] = None,
) -> None:
    """Three systems on a few clips: a table here, pictures in OUT/report.html. VOS_TEACH_DAVIS=DIR takes real ones."""
    from vos_teach import demo as library
    from vos_teach.data import choose

    real = bool(os.environ.get("VOS_TEACH_DAVIS"))
    names = listed.sequences(sequences)
    clips, what, _ = choose.clips("davis" if real else "toy", names, year)
    clips = library.choose(clips, library.REAL if real else library.TOY, names)
    print(f"{', '.join(library.SYSTEMS)} on {what}: {', '.join(clip.name for clip in clips)}")
    rows, page = library.demo(clips, out, what, real=real)
    _print_rows(rows, what)
    print(f"open this in a browser: {page}")


def _options(systems: list[str], seconds: float | None, steps: int | None, weights: str | None, finetune: str = "plain"
             ) -> dict[str, dict]:
    """system -> options: the budget goes to the systems that fine-tune, the weights to those that take any.

    VosError for an unknown system, and for weights that cannot be read or that nobody takes: before hours of work.
    """
    from vos_teach import registry

    if seconds is not None and steps is not None:
        raise VosError("--seconds and --steps are both given: choose one")
    if finetune not in ("plain", "lucid"):
        raise VosError(f"--finetune is '{finetune}'; choose from: plain, lucid")
    budget: dict = {"seconds": seconds} if seconds is not None else {"steps": steps} if steps is not None else {}
    for name, value in budget.items():
        if value < 0 or value != value:
            raise VosError(f"--{name} is {value}: it cannot be negative")
    if finetune == "lucid":
        budget["lucid"] = True
    options: dict[str, dict] = {s: dict(budget) if registry.spec(s).finetunes else {} for s in systems}
    if weights is not None:
        from vos_teach.weights import load

        takers = [s for s in systems if registry.spec(s).weights]
        if not takers:
            able = ", ".join(s for s in registry.names() if registry.spec(s).weights)
            raise VosError(f"--weights is given, but {' and '.join(systems)} take none: choose from {able}")
        load(weights)
        for s in takers:
            options[s]["weights"] = weights
    return {s: o for s, o in options.items() if o}


def _print_rows(rows: list[dict], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from vos_teach.bench import cells

    head, body = cells(rows)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fits 80 columns
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left", no_wrap=not i)
    for line in body:
        table.add_row(*line)
    Console().print(table)
    if kept := sum(row["reused"] for row in rows):
        print(f"{kept} of these results were kept from an earlier run with the same code, weights and options")


@app.command()
def train(
    system: Annotated[str, typer.Argument(help="the system, for example osvos")],
    data: Annotated[list[str], typer.Option(help="'toy', 'davis' or a DAVIS folder; give it again for several")],
    out: Annotated[Path, typer.Option(help="where checkpoint, log and weights go")] = Path("runs/train"),
    steps: Annotated[int | None, typer.Option(help="optimisation steps; default: the system's own")] = None,
    toy_share: Annotated[float, typer.Option(help="share of toy batches where there are others too")] = 0.05,
    toy_clips: Annotated[int, typer.Option(help="how many toy clips")] = 200,
    scale: Annotated[str, typer.Option(help="toy, small or paper")] = "small",
    seed: Annotated[int, typer.Option(help="the same seed gives the same weights")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    year: Annotated[int | None, typer.Option(help="of DAVIS: 2016 or 2017; needed where both are there")] = None,
) -> None:
    """Train a system on the TRAINING split; interrupted and run again, it goes on where it was."""
    from vos_teach import train as training

    where = training.run(system, data, out, steps, toy_share, toy_clips, scale, seed, device, year)
    print(f"weights: {where}")


data_app = typer.Typer(no_args_is_help=True, help="Fetch data sets.")
app.add_typer(data_app, name="data")


@data_app.command()
def davis(
    sequences: Annotated[str, typer.Option(help="NAME,NAME or 'all'")],
    root: Annotated[Path, typer.Option(help="folder to fetch into: ROOT/JPEGImages/480p/NAME and so on")],
    year: Annotated[int, typer.Option(help="2016 or 2017")] = 2017,
    resolution: Annotated[str, typer.Option(help="480p; 2016 also 1080p, 2017 also Full-Resolution")] = "480p",
    url: Annotated[str | None, typer.Option(help="another copy of the official zip")] = None,
) -> None:
    """Fetch DAVIS sequences, and nothing else, out of the official zip. Interrupted and run again, it goes on."""
    from vos_teach.data import download

    download.davis(root, listed.sequences(sequences) or [], year, resolution, url)
    typer.echo(f"DAVIS-{year}, {sequences}: ready in '{root}'")


app.add_typer(claim_app, name="claim")
app.add_typer(weights_app, name="weights")
app.add_typer(labs_app, name="labs")
app.command()(commands_class.grade)
app.command()(commands_class.doctor)
app.add_typer(commands_class.class_app, name="class")


def main() -> None:
    """Run the command; bad input ends in one sentence on stderr and exit status 2, never in a traceback."""
    try:
        try:
            app(standalone_mode=True)
        finally:
            if sys.stdout:
                sys.stdout.flush()  # so that a full disk or a closed pipe shows here, and not when Python ends
    except VosError as error:
        print(f"vos-teach: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `vos-teach ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        print(f"vos-teach: {error.strerror or error}{where}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("vos-teach: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
