"""``spatial-zb``: the command line, thin over :mod:`spatial_zb.pipeline`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spatial_zb.pipeline import Outcome
    from spatial_zb.study import Study

__all__ = ["main"]

DEFAULT_STUDY = Path("studies/bay_area.toml")

#: Command → (what it does, the stages of the pipeline it runs).
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "run": (
        "run the whole study: tables, maps, report, manifest",
        ("data", "moran", "dynamics", "tests", "models", "systems", "compare", "maps", "report"),
    ),
    "moran": ("Moran's I by year and weights matrix", ("moran",)),
    "dynamics": ("densities, ellipses, inequality and convergence", ("dynamics",)),
    "diagnose": ("the test chain of every model, and what it points to", ("tests",)),
    "estimate": ("spatial Durbin models and their effects", ("models",)),
    "system": ("simultaneous systems and their cross-equation effects", ("systems",)),
    "compare": ("grid of specifications, model probabilities and robustness", ("compare",)),
    "maps": ("maps, Moran scatterplots and link maps", ("maps",)),
    "report": ("the offline report: one page with maps, tables and readings", ("report",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives 0, 1 for a refused input, 2 for a wrong call, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    _speak_utf8()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _OTHERS.get(options.command, _run)(options)
    except KeyboardInterrupt:
        _say("Stopped. Earlier results are as they were.")
        return 130
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from spatial_zb.errors import SpatialZbError

        if not isinstance(error, SpatialZbError):
            raise
        _say(f"Error: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    from spatial_zb import __version__

    parser = argparse.ArgumentParser(
        prog="spatial-zb",
        description="Spatial econometrics of industry and talent agglomeration, from one study file.",
    )
    parser.add_argument("--version", action="version", version=f"spatial-zb {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = {
        **{name: text for name, (text, _) in COMMANDS.items()},
        "check": "read and check everything, write nothing",
        "replicate": "put data, code and results of a finished study into one zip",
    }
    for name, text in words.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument(
            "study",
            nargs="?",
            type=Path,
            default=DEFAULT_STUDY,
            help=f"study file (default: {DEFAULT_STUDY})",
        )
        command.add_argument(
            "--root", type=Path, help="project folder that the paths of the study start from"
        )
        command.add_argument(
            "--allow-outside", action="store_true", help="let the study read files outside that folder"
        )
        command.add_argument("--quiet", action="store_true", help="print nothing but errors")
        if name == "replicate":
            command.add_argument(
                "--out", type=Path, help="the zip file (default: results/<study>-replication.zip)"
            )
        elif name != "check":
            command.add_argument("--out", type=Path, help="folder for the results (default: results/<study>)")
            command.add_argument(
                "--workers", type=int, default=1, help="processes for grids and robustness (-1: all cores)"
            )
            command.add_argument(
                "--scheduler",
                metavar="ADDRESS",
                help="Dask scheduler to use instead, such as tcp://host:8786",
            )
            command.add_argument(
                "--store", type=Path, help="folder of finished fits, from which an interrupted run goes on"
            )
            command.add_argument(
                "--language", choices=("en", "zh", "both"), help="language of tables and figures"
            )
    text = "run an unpacked replication package again and compare every table"
    command = commands.add_parser("verify", help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("folder", type=Path, help="the folder that the zip unpacks to")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _load(options: argparse.Namespace) -> Study:
    from spatial_zb.study import load_study

    study = load_study(options.study, root=options.root, allow_outside=options.allow_outside)
    language = getattr(options, "language", None)
    return study.with_language(language) if language else study


def _run(options: argparse.Namespace) -> int:
    from spatial_zb import pipeline
    from spatial_zb.execute import Execution, ResultStore

    study = _load(options)
    store = ResultStore(options.store) if options.store else None
    with _Progress(options.quiet) as progress:
        outcome = pipeline.run(
            study,
            COMMANDS[options.command][1],
            out=options.out,
            progress=progress.step,
            execution=Execution(options.workers, options.scheduler, store),
        )
    if not options.quiet:
        _report(study, outcome)
    return 0


def _check(options: argparse.Namespace) -> int:
    import warnings

    from spatial_zb import pipeline
    from spatial_zb.errors import SpatialZbWarning

    study = _load(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        prepared = pipeline.prepare(study)
        weights = [prepared.weights(name, study.main_sample) for name in study.weights]
    if options.quiet:
        return 0
    print(f"{study.path.name} is sound: {prepared.panel!r}.")
    for name, units in prepared.samples.items():
        print(f"  sample {name}: {len(units)} units")
    for W in weights:
        print(f"  weights {W.label}: {W.matrix.nnz} links, {len(W.islands)} without neighbours")
    print(
        f"  {len(prepared.filled)} blank cell(s) filled by the study's rules, {len(prepared.flags)} flagged row(s)"
    )
    _notes([str(n.message) for n in caught])
    return 0


def _replicate(options: argparse.Namespace) -> int:
    from spatial_zb.pipeline.replication import replicate

    path = replicate(_load(options), options.out)
    if not options.quiet:
        print(
            f"{_near(path)} ({path.stat().st_size / 1e6:.1f} MB). In its README, fill in the lines marked [AUTHORS: …]."
        )
        print("To try it as a replicator would: unpack it and run python3 replicate.py in its folder.")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from spatial_zb.pipeline.replication import verify

    with _Progress(options.quiet) as progress:
        comparison = verify(options.folder, progress=progress.step)
    for row in comparison.files.itertuples():
        if row.verdict not in ("identical", "same numbers"):
            _say(f"{row.verdict}: {row.file} {row.detail}".rstrip())
    if not options.quiet:
        counts = comparison.glance()
        print("; ".join(f"{row.files} {row.verdict}" for row in counts.itertuples()))
        print("Every table came out again." if comparison.same else "Not every table came out again.")
    return 0 if comparison.same else 1


def _report(study: Study, outcome: Outcome) -> None:
    print(f"\nResults of {study.name} in {_near(outcome.folder)} ({outcome.seconds:.0f} s):")
    for line in _by_stem(path.relative_to(outcome.folder) for path in outcome.files):
        print(f"  {line}")
    _notes(outcome.notes)
    chosen = study.general.language
    if outcome.reading:
        print("\nIn short" if chosen != "zh" else "\n结论")
    for language in ("en", "zh") if chosen == "both" else (chosen,):
        for number, line in enumerate(outcome.reading, 1):
            print(f"  {number}. {line.pick(language)}")


def _by_stem(files: Iterable[Path]) -> list[str]:
    """One line for all formats of a table or figure: ``tables/moran (.csv .docx)``."""
    formats: dict[str, list[str]] = {}
    for path in files:
        formats.setdefault(path.with_suffix("").as_posix(), []).append(path.suffix)
    return [
        stem + endings[0] if len(endings) == 1 else f"{stem} ({' '.join(endings)})"
        for stem, endings in formats.items()
    ]


def _notes(notes: Sequence[str], shown: int = 8) -> None:
    """The first notes; a run with many says the rest in the manifest."""
    notes = list(dict.fromkeys(notes))
    if notes:
        print("\nTo know (all in manifest.json):")
    for note in notes[:shown]:
        print(f"  - {note}")
    if len(notes) > shown:
        print(f"  - … and {len(notes) - shown} more")


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


class _Progress:
    """One line that says what is being done; plain lines where the output is not a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.last, self.status = quiet, "", None

    def __enter__(self) -> _Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console

            self.status = Console(stderr=True).status("Starting")
            self.status.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.status is not None:
            self.status.stop()

    def step(self, stage: str, detail: str) -> None:
        """Show a stage and what it has just finished."""
        if self.status is not None:
            from rich.markup import escape

            self.status.update(f"{stage} … {escape(detail)}")
        elif not self.quiet and stage != self.last:
            print(f"{stage} …", file=sys.stderr, flush=True)
        self.last = stage


def _speak_utf8() -> None:
    """Chinese text must not stop a run on a console of another encoding."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(message: str) -> None:
    print(message, file=sys.stderr)


#: Commands that are not stages of the pipeline.
_OTHERS = {"check": _check, "replicate": _replicate, "verify": _verify}


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads only cost
    sys.exit(main())
