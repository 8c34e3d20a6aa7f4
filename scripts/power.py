"""What the models of a study could find in samples like its own: ``python3 scripts/power.py STUDY.toml``.

Every model (or system) is estimated on its first sample and weights; panels are then drawn with these estimates as
the truth, the study's own regressors and its own W, and estimated again. The table says how far estimates are off, how
often a test of zero rejects and how often an interval covers. Other truths:

    --set rho=0.3 W_talent=0     values in place of the estimates (systems: industry.W_talent=0)
    --factor 0.5 1 2             all coefficients but σ² times a factor, one case each
    --periods 11 20              other T, with drawn regressors
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

try:
    import spatial_zb as zb
except (
    ModuleNotFoundError
):  # a Python without it: set up where needed, and begin again there; help needs no set-up
    import bootstrap

    if not bootstrap.asks_help(sys.argv[1:]):
        sys.exit(bootstrap.become(bootstrap.ready("run"), [__file__, *sys.argv[1:]]))
    sys.path.insert(0, str(bootstrap.ROOT))
    import spatial_zb as zb
from spatial_zb.base.text import Text
from spatial_zb.cli.options import BilingualParser, help_language


def main() -> None:
    """Read the options, simulate, print."""
    options = parser(help_language(sys.argv[1:])).parse_args()
    try:
        frames = run(options)
    except zb.SpatialZbError as error:
        sys.exit(error.zh if options.language == "zh" else str(error))
    if options.out:
        import pandas as pd

        pd.concat(frames).to_csv(options.out, index=False)
        print(f"All numbers: {options.out}")


def parser(language: str) -> BilingualParser:
    """The options of this script."""
    made = BilingualParser(
        Text(
            "What the models of a study could find in samples like its own: bias, power and coverage in simulated panels.",
            "研究中的模型在类似样本中能发现什么：模拟面板中的偏误、检验功效与区间覆盖率。",
        ),
        language,
    )
    made.add_argument("study", type=Path, help=Text("study file", "研究文件"))
    made.add_argument(
        "--model",
        help=Text("name of one model or system; all without", "一个模型或方程组的名称；不给则为全部"),
    )
    made.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="TERM=VALUE",
        help=Text(
            "values in place of the estimates, such as rho=0.3 (systems: industry.W_talent=0)",
            "代替估计值的取值，如rho=0.3（方程组：industry.W_talent=0）",
        ),
    )
    made.add_argument(
        "--factor",
        nargs="*",
        type=float,
        default=[1.0],
        help=Text(
            "all coefficients but variances times a factor, one case each",
            "方差以外的全部系数乘以某倍数，每个倍数一种情形",
        ),
    )
    made.add_argument(
        "--periods",
        nargs="*",
        type=int,
        default=[],
        help=Text("other numbers of periods, with drawn regressors", "其他时期数，解释变量随机生成"),
    )
    made.add_argument(
        "--replications",
        type=int,
        default=500,
        help=Text("simulated panels of each case (default: 500)", "每种情形的模拟面板数（默认：500）"),
    )
    made.add_argument(
        "--workers", type=int, default=1, help=Text("processes (default: 1)", "进程数（默认：1）")
    )
    made.add_argument(
        "--seed",
        type=int,
        help=Text("seed of the draws (default: that of the study)", "随机种子（默认：研究文件中的种子）"),
    )
    made.add_language(
        help=Text("language of the table, and of this help", "表的语言，以及本帮助的语言"), default="en"
    )
    made.add_argument(
        "--out", type=Path, help=Text("also write all numbers to this csv file", "另将全部数值写入此csv文件")
    )
    return made


def run(options: argparse.Namespace) -> list:
    """Simulate each model; print its table and give its numbers."""
    study = zb.load_study(options.study)
    prepared = zb.prepare(study)
    known = {**study.models, **study.systems}
    if options.model is not None and options.model not in known:
        raise zb.SpecificationError(
            f"The study has no model {options.model!r}; it has {', '.join(known)}.",
            f"研究中没有模型{options.model!r}；已有{'、'.join(known)}。",
        )
    seed = study.general.seed if options.seed is None else options.seed
    frames = []
    for name in [options.model] if options.model else list(known):
        fit = estimated(study, prepared, known[name])
        truth = with_values(fit.params.to_dict(), options.set, fit)
        cases = {f"× {factor:g}": scaled(truth, factor) for factor in options.factor}
        drawn = {
            "regressors": None if options.periods else fit.panel,
            "sigma": fit.sigma if isinstance(fit.spec, zb.SystemSpec) else None,
        }
        found = zb.simulate.power(
            fit.spec,
            fit.weights,
            options.periods or len(fit.panel.periods),
            {name: zb.simulate.Truth(case, **drawn) for name, case in cases.items()},
            replicates=options.replications,
            plan=zb.simulate.Plan(
                estimator=fit.method if isinstance(fit.spec, zb.SystemSpec) else fit.estimator,
                covariance=fit.covariance,
            ),
            rng=seed,
            workers=zb.Execution(options.workers, progress=said),
        )
        print(f"\r{name}: {found.summary().splitlines()[0]}\n")
        print(found.table(language=options.language).to_string(index=False), end="\n\n")
        frames.append(found.tidy().assign(model=name))
    return frames


def estimated(study: Any, prepared: Any, model: Any) -> Any:
    """The model on its first sample and weights, with the last of its effects or the first of its methods."""
    from spatial_zb.pipeline.stages.models import spec_of

    sample, weights = study.samples_of(model)[0], study.weights_of(model)[0]
    panel, W = prepared.sample(sample), prepared.weights(weights, sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        if hasattr(model, "equations"):
            equations = {name: zb.Equation(**e.model_dump()) for name, e in model.equations.items()}
            spec = zb.SystemSpec(equations, fixed_effects=model.fixed_effects)
            return zb.fit_system(spec, panel, W, model.methods[0])
        return zb.fit_durbin(spec_of(model, model.fixed_effects[-1]), panel, W, **model.fit_options)


def with_values(truth: dict, given: list[str], fit: Any) -> dict:
    """The truth with values by name; ``equation.term`` in a system."""
    for word in given:
        name, _, value = word.partition("=")
        key = tuple(name.split(".", 1)) if isinstance(fit.spec, zb.SystemSpec) else name
        try:
            number = float(value)
        except ValueError:
            raise zb.SpecificationError(
                f"--set takes TERM=VALUE, such as rho=0.3, not {word!r}.",
                f"--set须为TERM=VALUE形式，如rho=0.3，而不是{word!r}。",
            ) from None
        if key not in truth:
            known = ", ".join(k if isinstance(k, str) else ".".join(k) for k in truth)
            raise zb.SpecificationError(
                f"The model has no parameter {name!r}; it has {known}.",
                f"模型没有参数{name!r}；已有{known}。",
            )
        truth[key] = number
    return truth


def scaled(truth: dict, factor: float) -> dict:
    """All coefficients times a factor; variances stay."""
    return {key: value if key in ("sigma2", "phi") else factor * value for key, value in truth.items()}


def said(done: int, total: int, left: float) -> None:
    """One line that is written over."""
    print(f"\r{done} of {total} panels, about {left:.0f} s left ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
