"""`vos-teach claim ...`: the lecture's claims, put to the test; a command each. Thin, as cli.py is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vos_teach import listed

claim_app = typer.Typer(no_args_is_help=True, help="Put a claim of the lecture to the test.")

Data = Annotated[str, typer.Option(help="toy, davis (in VOS_TEACH_DAVIS) or a folder")]
Out = Annotated[Path, typer.Option(help="gets NAME.md, .json and .png; run again to go on")]
Height = Annotated[int | None, typer.Option(help="systems work at this height; scored at the clip's own")]
Sequences = Annotated[str | None, typer.Option(help="only these: NAME,NAME")]
Year = Annotated[int | None, typer.Option(help="of DAVIS: 2016 or 2017")]
Crowd = Annotated[str | None, typer.Option(help="davis or a folder: its clip with the most objects; else a toy clip")]
OUT = Path("runs/claims")


@claim_app.command()
def finetuning(
    data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None, year: Year = None,
    steps: Annotated[str, typer.Option(help="take the network out after so many steps")] = "0,10,20,40,80,160,320,640",
    seconds: Annotated[str, typer.Option(help="time budgets to run beside")] = "10,60",
    seed: Annotated[int, typer.Option(help="of the fine-tuning")] = 0,
) -> None:
    """Stage 1: OSVOS's quality against its fine-tuning."""
    from vos_teach import claims

    counts, budgets = listed.numbers("--steps", steps, int), listed.numbers("--seconds", seconds)
    clips, _ = _clips(data, sequences, year)
    clips = [clip for clip in clips if len(clip.ids) == 1 and clip.starts[clip.ids[0]] == 0]
    _said("finetuning", claims.table(claims.finetuning(clips, out, height, seed, counts, budgets)), out)


@claim_app.command()
def streams(data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None,
            year: Year = None) -> None:
    """Stage 3: LucidTracker with one stream against two; seeds and margin were fixed beforehand."""
    from vos_teach import claims_streams

    clips, scale = _clips(data, sequences, year)
    sources = claims_streams.training_clips(data, year)
    _said("streams", claims_streams.streams_table(claims_streams.streams(clips, sources, out, height, scale)), out)


@claim_app.command()
def objects(data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None,
            year: Year = None) -> None:
    """Stage 3: N objects in one pass against one pass each, on the clip with the most objects."""
    from vos_teach import claims_streams

    clips, scale = _clips(data, sequences, year)
    most = max(clips, key=lambda clip: len(clip.ids))
    _said("objects", claims_streams.objects_table(claims_streams.objects(most, out, height, scale=scale)), out)


@claim_app.command()
def recurrence(out: Out = OUT) -> None:
    """Stage 4: RVOS's recurrence over objects, over frames, over both: 18 trainings on toy clips, an hour."""
    from vos_teach import claims_recurrence

    _said("recurrence", claims_recurrence.table(claims_recurrence.recurrence(out)), out)


@claim_app.command()
def speed(
    data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None, year: Year = None,
    systems: Annotated[str | None, typer.Option(help="NAME,NAME; default: the lecture's table")] = None,
    seconds: Annotated[float, typer.Option(help="of fine-tuning, for the systems that have any")] = 30,
    budgets: Annotated[str, typer.Option(help="of OSVOS, for the plot, in seconds")] = "10,30,60,120,300",
) -> None:
    """Stage 4: seconds a frame with and without online learning, on the first clip, all in one run."""
    from vos_teach import claims_speed

    clips, scale = _clips(data, sequences, year)
    chosen = listed.names(systems) if systems else claims_speed.SYSTEMS
    plot = listed.numbers("--budgets", budgets)
    result = claims_speed.speed(clips[0], out, height, chosen, seconds, plot, scale=scale)
    _said("speed", claims_speed.speed_table(result), out)


@claim_app.command()
def categories(
    out: Out = OUT,
    systems: Annotated[str | None, typer.Option(help="NAME,NAME; default: the lecture's table")] = None,
    steps: Annotated[int, typer.Option(help="of fine-tuning, for the systems that have any")] = 60,
) -> None:
    """Stage 4: toy categories that training has shown against those that it has not."""
    from vos_teach import claims_speed, registry

    chosen = listed.names(systems) if systems else list(claims_speed.SYSTEMS)
    tuned = {name: {"steps": steps} for name in chosen if registry.spec(name).finetunes}
    _said("categories", claims_speed.categories_table(claims_speed.categories(chosen, out, options=tuned)), out)


@claim_app.command()
def growth(
    data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None, year: Year = None,
    systems: Annotated[str, typer.Option(help="NAME,NAME; NAME:OPTION switches an option on")] = "rvos,s2s,s2s:shared",
) -> None:
    """Stages 4 and 5: seconds a frame against 1, 2, ... objects of the clip with the most."""
    from vos_teach import claims_speed

    clips, scale = _clips(data, sequences, year)
    most = max(clips, key=lambda clip: len(clip.ids))
    labels = {label: label.split(":") for label in listed.names(systems)}
    named = {label: (name, dict.fromkeys(switched, True)) for label, (name, *switched) in labels.items()}
    _said("growth", claims_speed.growth_table(claims_speed.growth(most, named, out, height, scale=scale)), out)


@claim_app.command()
def borrowed(data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None,
             year: Year = None) -> None:
    """Stage 4: visual memory with the flow that it borrows, and without it."""
    from vos_teach import claims_speed

    clips, scale = _clips(data, sequences, year)
    _said("borrowed", claims_speed.borrowed_table(claims_speed.borrowed(clips, out, height, scale)), out)


@claim_app.command()
def sparse(out: Out = OUT) -> None:
    """Stage 5: what sparse attention costs and reaches, beside dense attention."""
    from vos_teach import claims_sparse

    _said("sparse", claims_sparse.table(claims_sparse.sparse(out)), out)


@claim_app.command()
def memory(
    data: Annotated[str | None, typer.Option(help="davis or a folder: clips besides the toy ones")] = None,
    out: Out = OUT, height: Height = 240, sequences: Sequences = None, year: Year = None,
    systems: Annotated[str, typer.Option(help="stcn, stm or both: NAME,NAME")] = "stcn",
) -> None:
    """Stage 5: which frames to remember, with predicted and with true masks; toy clips that come back, three seeds."""
    from vos_teach import claims_memory

    clips = _clips(data, sequences, year)[0] if data else []
    chosen = listed.names(systems)
    _said("memory", claims_memory.memory_table(claims_memory.memory(clips, out, height, chosen)), out)


@claim_app.command()
def affinity(data: Data = "toy", out: Out = OUT, height: Height = 240, sequences: Sequences = None,
             year: Year = None) -> None:
    """Stage 5: the dot product against the distance, each trained: J, F, how much of memory is ever read."""
    from vos_teach import claims_memory

    clips, scale = _clips(data, sequences, year)
    _said("affinity", claims_memory.affinity_table(claims_memory.affinity(clips, out, height, scale=scale)), out)


@claim_app.command()
def identities(data: Crowd = None, out: Out = OUT, height: Height = 240, sequences: Sequences = None,
               year: Year = None) -> None:
    """Stage 5: seconds a frame of 1, 2, ... objects: a pass for each and a merge, against all in one pass."""
    from vos_teach import claims_objects

    found = claims_objects.identities(_crowd(data, sequences, year), out, height)
    _said("identities", claims_objects.identities_table(found), out)


@claim_app.command()
def backbone(data: Crowd = None, out: Out = OUT, height: Height = 240, sequences: Sequences = None,
             year: Year = None) -> None:
    """Stage 5: STCN's time beside its backbone's with one object, and beside STM's with all of a clip."""
    from vos_teach import claims_objects

    found = claims_objects.backbone(_crowd(data, sequences, year), out, height)
    _said("backbone", claims_objects.backbone_table(found), out)


def _crowd(data: str | None, sequences: str | None, year: int | None):
    """The clip with the most objects; without --data a toy clip with five."""
    from vos_teach.claims_objects import crowd

    return max(_clips(data, sequences, year)[0], key=lambda clip: len(clip.ids)) if data else crowd()


def _clips(data: str, sequences: str | None, year: int | None):
    """The clips that were asked for, and the scale that goes with them."""
    from vos_teach.data import choose

    clips, _, scale = choose.clips(data, listed.sequences(sequences), year)
    return clips, scale


def _said(name: str, table: str, out: Path) -> None:
    print(table)
    print(f"written: {out / f'{name}.md'}, {name}.json and {name}.png")
