"""The `vos-teach` command. Thin: each command parses its options and calls the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vos_teach.clip import VosError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Video object segmentation, from OSVOS to transformers.",
)


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
        sequences=sequences if sequences in (None, "present") else _names(sequences),
        unseen=None if unseen is None else _names(unseen),
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


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command()
def train(
    system: Annotated[str, typer.Argument(help="the system, for example osvos")],
    data: Annotated[list[str], typer.Option(help="'toy', 'davis' or a DAVIS folder; give it again for several")],
    out: Annotated[Path, typer.Option(help="where checkpoint, log and weights go")] = Path("runs/train"),
    steps: Annotated[int | None, typer.Option(help="optimisation steps; default: the system's own")] = None,
    toy_share: Annotated[float, typer.Option(help="share of toy batches where there are others too")] = 0.15,
    toy_clips: Annotated[int, typer.Option(help="how many toy clips")] = 200,
    scale: Annotated[str, typer.Option(help="toy, small or paper")] = "small",
    seed: Annotated[int, typer.Option(help="the same seed gives the same weights")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Train a system on the TRAINING split; interrupted and run again, it goes on where it was."""
    from vos_teach import train as training

    where = training.run(system, data, out, steps, toy_share, toy_clips, scale, seed, device)
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

    download.davis(root, _names(sequences), year, resolution, url)
    typer.echo(f"DAVIS-{year}, {sequences}: ready in '{root}'")


def main() -> None:
    """Run the command; bad input ends in one sentence on stderr and exit status 2, never in a traceback."""
    try:
        app(standalone_mode=True)
    except VosError as error:
        print(f"vos-teach: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        print(f"vos-teach: {error.strerror or error}{where}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("vos-teach: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
