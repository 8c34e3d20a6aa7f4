"""``spatial-zb``: the command line, thin over :mod:`spatial_zb.pipeline`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spatial_zb.base.text import Language, Text
from spatial_zb.cli.options import can_show, help_language, parser

if TYPE_CHECKING:
    from rich.status import Status

    from spatial_zb.pipeline import Outcome
    from spatial_zb.pipeline.running import Stage
    from spatial_zb.study import Study


NOTES = Text("To know:", "提示：")
IN_FULL = Text(
    "To know (in full at the end of report.html and in manifest.json):",
    "提示（全文见report.html末尾与manifest.json）：",
)
IN_SHORT = Text("In short", "结论")
STOPPED = Text("Stopped. Earlier results are as they were.", "已停止，此前的结果保持不变。")
DONE = Text("Stopped. The results were already written and are whole.", "已停止。结果此前已写完，完整无缺。")

#: Command → the stages of the pipeline it runs, where these are not all.
COMMANDS: dict[str, tuple[Stage, ...]] = {
    "moran": ("moran",),
    "dynamics": ("dynamics",),
    "diagnose": ("tests",),
    "estimate": ("models",),
    "system": ("systems",),
    "compare": ("compare",),
    "maps": ("maps",),
    "report": ("report",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives 0, 1 for a refused input, 2 for a wrong call, 130 when interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    options = argparse.Namespace(spoken="en")
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        made = parser(help_language(words))
        made.parse_args(words, options)
        if options.command is None:
            made.print_help()
            return 0
        options.spoken = "zh" if getattr(options, "language", None) == "zh" else "en"
        _speak_utf8()
        return _OTHERS.get(options.command, _run)(options)
    except KeyboardInterrupt as stop:
        return _stopped(stop, options)
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from spatial_zb.base.errors import SpatialZbError

        wrapped = _behind(error)
        if wrapped is not None:
            return _stopped(wrapped, options)
        if not isinstance(error, SpatialZbError):
            return _our_mistake(error, options.spoken)
        _say(f"错误：{error.zh}" if options.spoken == "zh" else f"Error: {error}")
        return 1


def _stopped(stop: KeyboardInterrupt, options: argparse.Namespace) -> int:
    said = getattr(stop, "said", DONE if getattr(options, "done", False) else STOPPED)
    _say(said.pick(options.spoken))
    return 130


def _behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error comes of: while a class is being made or a file parsed, Python and readers wrap it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__cause__ or error.__context__
    return None


def _load(options: argparse.Namespace) -> Study:
    from spatial_zb.study import find_study, language_of, load_study

    if options.study is None:
        options.spoken = options.spoken if getattr(options, "language", None) else help_language(())
        options.study = find_study(Path.cwd())
    if not getattr(options, "language", None) and can_show("中文"):
        options.spoken = language_of(options.study)  # before its mistakes are told
    study = load_study(options.study, root=options.root, allow_outside=options.allow_outside)
    language = getattr(options, "language", None)
    study = study.with_language(language) if language else study
    options.spoken = study.spoken if can_show("中文") else "en"
    return study


def _run(options: argparse.Namespace) -> int:
    from spatial_zb import pipeline
    from spatial_zb.base.execute import Execution, ResultStore

    study = _load(options)
    store = ResultStore(options.store) if options.store else None
    with _Progress(options.quiet) as progress:
        outcome = pipeline.run(
            study,
            COMMANDS.get(options.command, pipeline.STAGES),
            out=options.out,
            progress=progress.step,
            execution=Execution(1 if options.workers is None else options.workers, options.scheduler, store),
            beside=options.workers != 1,
        )
    options.done = True
    if not options.quiet:
        _report(study, outcome, options.spoken)
    return 0


def _check(options: argparse.Namespace) -> int:
    from spatial_zb import pipeline

    study = _load(options)
    with _Progress(options.quiet) as progress:
        checked = pipeline.check(study, progress=progress.step)
    if not options.quiet:
        for line in checked.lines():
            print(line.pick(options.spoken))
        _tell(options.spoken, checked.notes, NOTES)
    return 0


def _init(options: argparse.Namespace) -> int:
    options.spoken = options.language or help_language(())
    if options.files:
        return _init_from(options)
    from spatial_zb.base.errors import SpecificationError
    from spatial_zb.pipeline.examples import write_example

    for name in ("crs", "ids"):
        if getattr(options, name):
            raise SpecificationError(f"--{name} goes with --from.", f"--{name}须与--from同用。")

    study, *others = write_example(options.folder, options.example, options.spoken)
    if not options.quiet:
        inside = "" if options.folder.resolve() == Path.cwd() else f"cd {options.folder} && "
        made = Text(
            f"Written: {_near(study)} and {len(others)} files of data. Now: {inside}spatial-zb run",
            f"已写入：{_near(study)}及{len(others)}个数据文件。接下来：{inside}spatial-zb run",
        )
        print(made.pick(options.spoken))
    return 0


def _init_from(options: argparse.Namespace) -> int:
    from spatial_zb.pipeline.proposal import propose

    files = list(options.files)
    if (
        len(files) > 1 and not files[-1].suffix and not files[-1].is_file()
    ):  # the folder, which nothing else tells apart
        options.folder = files.pop()
    study, checked = propose(files, options.folder, options.spoken, options.crs, options.ids)
    if not options.quiet:
        for line in checked.lines():
            print(line.pick(options.spoken))
        _tell(options.spoken, checked.notes, NOTES)
        made = Text(
            f"\nWritten: {_near(study)}. Read it through, then: spatial-zb run {_near(study)}",
            f"\n已写入：{_near(study)}。请通读修改，然后：spatial-zb run {_near(study)}",
        )
        print(made.pick(options.spoken))
    return 0


def _power(options: argparse.Namespace) -> int:
    from spatial_zb import pipeline
    from spatial_zb.base.execute import Execution

    study = _load(options)
    with _Progress(options.quiet) as progress:
        prepared = pipeline.check(study, progress=progress.step).prepared
    frames = []
    for name in [options.model] if options.model else [*study.models, *study.systems]:
        found = pipeline.planned_power(
            prepared,
            name,
            dict(options.set),
            options.factor,
            periods=options.periods,
            replicates=options.replications,
            rng=options.seed,
            workers=Execution(options.workers, progress=None if options.quiet else _panels_done),
        )
        frames.append(found.tidy().assign(model=name))
        if not options.quiet:
            print(f"\r{name}: {found.summary().splitlines()[0]}\n")
            print(found.table(language=options.spoken).to_string(index=False), end="\n\n")
    if options.out:
        import pandas as pd

        pd.concat(frames).to_csv(options.out, index=False)
    return 0


def _panels_done(done: int, total: int, left: float) -> None:
    """One line that is written over."""
    print(f"\r{done} / {total} ({left:.0f} s) ", end="", file=sys.stderr, flush=True)


def _replicate(options: argparse.Namespace) -> int:
    from spatial_zb.pipeline.replication.package import replicate

    path = replicate(_load(options), options.out)
    if not options.quiet:
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        made = Text(
            f"{_near(path)} ({size}). In its README, fill in the lines marked [AUTHORS: …].\n"
            "To try it as a replicator would: unpack it and run python3 replicate.py in its folder.",
            f"{_near(path)}（{size}）。请在其README中补全标有[AUTHORS: …]的各行。\n"
            "如要像复现者那样试一遍：解压后在其文件夹中运行python3 replicate.py。",
        )
        print(made.pick(options.spoken))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from spatial_zb.pipeline.replication import VERDICTS
    from spatial_zb.pipeline.replication.package import verify
    from spatial_zb.study import language_of

    studies = sorted((options.folder / "studies").glob("*.toml"))
    if not options.language and studies and can_show("中文"):
        options.spoken = language_of(studies[0])
    language = options.spoken
    with _Progress(options.quiet) as progress:
        comparison = verify(options.folder, progress=progress.step)
    for row in comparison.files.itertuples():
        if row.verdict not in ("identical", "same numbers"):
            verdict, detail = VERDICTS[row.verdict], Text(row.detail, row.detail_zh)
            said = Text(f"{verdict.en}: {row.file} {detail.en}", f"{verdict.zh}：{row.file} {detail.zh}")
            _say(said.pick(language).rstrip())
    if not options.quiet:
        counts = [(row.files, VERDICTS[row.verdict]) for row in comparison.glance().itertuples()]
        glance = Text(
            "; ".join(f"{files} {verdict.en}" for files, verdict in counts),
            "；".join(f"{verdict.zh}{files}个" for files, verdict in counts),
        )
        end = (
            Text("Every table came out again.", "所有表都得到了复现。")
            if comparison.same
            else Text("Not every table came out again.", "有的表没有得到复现。")
        )
        digest = Text(f"Digest of the package: {comparison.digest}", f"复现包校验值：{comparison.digest}")
        for line in (glance, end, digest):
            print(line.pick(language))
    return 0 if comparison.same else 1


def pages() -> dict[str, Path]:
    """Topic → file of every page of the documentation: ``study-file``, ``median-unbiased``, ``validation/study``.

    An installed package carries its pages in ``docs`` inside itself, a checkout has them beside it.
    """
    package = Path(__file__).parents[1]
    homes = (package / "docs", package.parent / "docs")
    home = next((folder for folder in homes if folder.is_dir()), homes[0])
    found = {}
    for folder, before in (("", ""), ("methods", ""), ("validation", "validation/")):
        for path in sorted((home / folder).glob("*.md")):
            found[folder if path.stem == "README" else before + path.stem] = path
    return found


def _docs(options: argparse.Namespace) -> int:
    known = pages()
    options.spoken = options.language or help_language(())
    if options.topic is None:
        width = max(map(len, known), default=0)
        for topic, path in known.items():
            with path.open(encoding="utf-8") as page:
                print(f"{topic:{width}}  {page.readline().lstrip('# ').rstrip()}")
        return 0
    topic = options.topic.removeprefix("docs/").removeprefix("methods/").removesuffix(".md")
    if topic not in known:
        raise _no_page(topic, known)
    text = known[topic].read_text("utf-8")
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)))  # links lead nowhere here
    else:
        print(text, end="")
    return 0


def _no_page(topic: str, known: Iterable[str]) -> Exception:
    from difflib import get_close_matches

    from spatial_zb.base.errors import SpecificationError

    near = [name for name in known if topic in name] or get_close_matches(topic, known, n=1)
    hint = Text(f" Did you mean {near[0]}?", f"是否指{near[0]}？") if near else Text("", "")
    return SpecificationError(
        f"There is no page {topic!r}.{hint.en} `spatial-zb docs` lists all.",
        f"没有{topic!r}这一页。{hint.zh}`spatial-zb docs`列出各页。",
    )


def _report(study: Study, outcome: Outcome, language: Language) -> None:
    place, seconds = _near(outcome.folder), f"{outcome.seconds:.0f}"
    head = Text(
        f"Results of {study.name} in {place} ({seconds} s):",
        f"{study.name}的结果在{place}（用时{seconds}秒）：",
    )
    print(f"\n{head.pick(language)}")
    for line in _by_folder([path.relative_to(outcome.folder) for path in outcome.files]):
        print(f"  {line.pick(language)}")
    chosen = study.general.language
    reading = [line for line in outcome.reading if line.en]
    if reading:
        print("\n" + IN_SHORT.pick(language))
    for one in ("en", "zh") if chosen == "both" else (language,):
        for number, line in enumerate(reading, 1):
            print(f"  {number}. {line.pick(one)}")
    _tell(language, outcome.brief, IN_FULL)


def _by_folder(files: Sequence[Path]) -> list[Text]:
    """Files of the results folder itself by name, then each folder with what is in it, its formats told apart."""
    lines = [Text.of(path.as_posix()) for path in files if len(path.parts) == 1]
    for folder in dict.fromkeys(path.parent for path in files if len(path.parts) > 1):
        inside = [path for path in files if path.parent == folder]
        stems, endings = {path.stem for path in inside}, sorted({path.suffix for path in inside})
        kinds = f"{len(stems)} ({' '.join(endings)})"
        lines.append(Text(f"{folder.as_posix()}/: {kinds}", f"{folder.as_posix()}/：{kinds}"))
    return lines


def _tell(language: Language, notes: Sequence[Text], heading: Text) -> None:
    if notes:
        print("\n" + heading.pick(language))
    for number, note in enumerate(notes, 1):
        print(f"  {number}. {note.pick(language)}")


def _near(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


class _Progress:
    """One line that says what is being done; plain lines where the output is not a terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.last = quiet, ""
        self.status: Status | None = None

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


_NO_MEMORY = Text(
    "Error: this machine has too little memory for the study. Earlier results are as they were. Use fewer workers, fewer "
    "units or a larger machine.",
    "错误：本机内存不足以完成此研究，此前的结果保持不变。请减少并行进程数或地区数，或换用内存更大的机器。",
)


def _our_mistake(error: Exception, language: Language) -> int:
    """Say in one line what went wrong, and keep the trace for a report."""
    import tempfile
    import traceback

    if isinstance(error, MemoryError):
        _say(_NO_MEMORY.pick(language))
        return 1
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="spatial-zb-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exception(error, file=file)
        kept = file.name
    except OSError:  # no room for a file: the place it went wrong at
        last = traceback.extract_tb(error.__traceback__)[-1]
        kept = f"{Path(last.filename).name}:{last.lineno}"
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    said = Text(
        f"This is a mistake in spatial-zb, not yours ({what}). Earlier results are as they were. Please report it "
        f"with the file {kept}.",
        f"这是spatial-zb自身的错误，与您的研究无关（{what}）。此前的结果保持不变。请附上文件{kept}报告此问题。",
    )
    _say(said.pick(language))
    return 70


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
_OTHERS = {
    "init": _init,
    "check": _check,
    "power": _power,
    "replicate": _replicate,
    "verify": _verify,
    "docs": _docs,
}
