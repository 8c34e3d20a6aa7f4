"""What a reader of an instrumental estimate of one equation has to know, said in one warning."""

from __future__ import annotations

from spatial_zb.errors import listed, listed_zh
from spatial_zb.models.fit import Fit
from spatial_zb.models.ml import SMALL_N
from spatial_zb.models.notes import NO_SOLUTION, fit_words, warn_together
from spatial_zb.text import Text
from spatial_zb.weights.matrix import Weights

__all__ = ["is_inside", "limits_that_hold", "say_what_matters"]

#: First-stage F below which instruments are called weak (Staiger & Stock 1997, Econometrica 65).
WEAK = 10.0
#: More instruments than this share of the observations bias 2SLS towards least squares.
MANY = 0.1


def is_inside(rho: float, weights: Weights) -> bool:
    """Whether ρ is where the model has an equilibrium."""
    low, high = weights.logdet.interval
    return low < rho < high


def limits_that_hold(fit: Fit) -> str:
    """What has limits of ρ where those by standard errors do not hold."""
    spec = fit.spec
    exact = spec.lag_y and not (spec.lag_error or spec.endog) and fit.covariance == "information"
    return "zb.anderson_rubin(fit)" if exact else "zb.bootstrap(fit)"


def say_what_matters(fit: Fit) -> None:
    """Warn once of everything that bears on how the fit may be read; silent when there is nothing."""
    notes: list[Text] = []
    spec, weights, record, N = fit.spec, fit.weights, fit.convergence, fit.nobs
    rho = float(fit.params.get("rho", 0.0))
    low, high = weights.logdet.interval if spec.spatial_terms else (-1.0, 1.0)
    if record["at_bound"]:
        notes.append(
            Text(
                f"the moments are nearest to zero at an end of the admissible interval of λ ({low:.3f}, {high:.3f}): no "
                "standard error is claimed",
                f"矩条件在λ容许区间({low:.3f}, {high:.3f})的端点处最接近零，不给出标准误",
            )
        )
    if spec.lag_y and not is_inside(rho, weights):
        exact = limits_that_hold(fit)
        other = Text(f"; {exact} has limits that hold", f"；{exact}的区间成立")
        other = other if "anderson" in exact else Text("", "")  # a bootstrap needs an estimate inside
        notes.append(
            Text(
                f"ρ = {rho:.3f} lies outside the admissible interval ({low:.3f}, {high:.3f}), where the model has no "
                f"equilibrium: no standard error is claimed{other.en}",
                f"ρ={rho:.3f}落在容许区间({low:.3f}, {high:.3f})之外，模型无均衡，不给出标准误{other.zh}",
            )
        )
    if record.get("corrected") is False:
        notes.append(NO_SOLUTION)
    weak = {k: f for k, f in record.get("first_stage", {}).items() if f < WEAK}
    if weak:
        shown = [f"{'W_' + spec.y if k == 'rho' else k} (F = {f:.1f})" for k, f in weak.items()]
        lean = (
            Text("poorly determined", "难以确定")
            if fit.bias_correction
            else Text("pulled towards least squares", "偏向最小二乘")
        )
        notes.append(
            Text(
                f"instruments are weak for {listed(shown)}: its coefficient is {lean.en}, and intervals by standard errors "
                "are too short",
                f"{listed_zh(shown)}的工具变量较弱：其系数{lean.zh}，按标准误给出的区间偏窄",
            )
        )
    count = len(record.get("instruments", ()))
    if count > MANY * N:
        notes.append(
            Text(
                f"{count} instruments for {N} observations are many: fewer powers or regressors lean less",
                f"{N}个观测值用了{count}个工具变量，过多：减少W的幂次或解释变量可减小偏误",
            )
        )
    if record.get("dropped_instruments"):
        gone = record["dropped_instruments"]
        notes.append(
            Text(
                f"collinear instruments were left out: {listed(gone)}",
                f"共线的工具变量已剔除：{listed_zh(gone)}",
            )
        )
    if weights.n <= SMALL_N and spec.spatial_terms:  # n = 11: those of ρ beside λ cover 90 %
        cells = weights.n * len(fit.panel.periods)
        notes.append(
            Text(
                f"only {weights.n} units ({cells} unit-periods): read standard errors as approximate, beside "
                "zb.bootstrap(fit) (docs/validation/gmm.md)",
                f"仅{weights.n}个地区（{cells}个观测值），标准误只是近似值，请与zb.bootstrap(fit)对照（docs/validation/gmm.md）",
            )
        )
    about = fit_words(spec.family, spec.y, weights.label, Text("by GMM", "GMM"))
    warn_together(about, notes, stacklevel=4)
