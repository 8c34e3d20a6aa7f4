"""What a reader of a fit of one equation may have to know: each kind of note, in words.

What simulations found: ``spatial-zb docs validation``; the limits from which it is said stand with the estimators.
"""

from __future__ import annotations

from spatial_zb.base.errors import listed, listed_zh
from spatial_zb.base.notes import Kind
from spatial_zb.base.text import Text

#: What to read beside an estimate; a study has each under another name.
MEDIAN_UNBIASED, BOOTSTRAP = "zb.median_unbiased(fit)", "zb.bootstrap(fit)"
PROFILE, ANDERSON_RUBIN = "zb.profile_interval(fit)", "zb.anderson_rubin(fit)"
ROBUST_SCORE = 'estimator="robust_score"'
COUNTED = {"units": "地区", "periods": "时期"}

# Solutions ------------------------------------------------------------------------------------------------


@Kind
def not_positive() -> Text:
    """No standard error at an interior estimate."""
    return Text(
        "the information matrix is not positive definite: no standard error is claimed",
        "信息矩阵非正定，不给出标准误",
    )


@Kind
def no_maximum(low: float, high: float, beside: str | None) -> Text:
    """The likelihood of one equation has its maximum at the end of an interval."""
    needless = Text(f"; {beside} needs none", f"；{beside}不依赖标准误") if beside else Text("", "")
    return Text(
        f"the likelihood still rises at the end of the admissible interval ({low:.3f}, {high:.3f}): there is no interior "
        f"maximum and no standard error is claimed{needless.en}",
        f"似然函数在容许区间({low:.3f}, {high:.3f})的端点处仍在上升：没有内点极大值，不给出标准误{needless.zh}",
    )


@Kind
def no_maximum_random(rho: float, lam: float, phi: float) -> Text:
    """The same with random effects, whose likelihood has three intervals."""
    where = f"ρ = {rho:.3f}, λ = {lam:.3f}, φ = {phi:.3g}"
    return Text(
        f"the likelihood still rises at the end of an admissible interval ({where}): no standard error is claimed",
        f"似然函数在容许区间端点处（{where}）仍在上升，不给出标准误",
    )


@Kind
def not_flat(slope: float) -> Text:
    """A search that ended before the maximum."""
    return Text(
        f"the likelihood still has a slope ({slope:.2g}) where the search ended",
        f"搜索结束处似然函数的斜率仍不为零（{slope:.2g}）",
    )


@Kind
def weak_pair(units: int) -> Text:
    """ρ and λ together in a small panel that is not balanced."""
    return Text(
        f"ρ and λ together on {units} units that are not all there in every period, or under a W that changes: in "
        "simulations with 11 units λ was too low (by 0.20 with 4 periods, 0.04 with 11), 8 and 4 % of the panels had no "
        "root, and intervals covered 86 to 95 %. An SDM says more (spatial-zb docs validation/shape)",
        f"{units}个地区、形态不齐或W变化的面板同时估计ρ与λ：11个地区的模拟中λ偏低（4期时0.20，11期时0.04），"
        "8%与4%的面板无根，区间覆盖率为86%至95%。SDM更可靠（spatial-zb docs validation/shape）",
    )


@Kind
def no_root() -> Text:
    """The score of a model with regimes has no root."""
    return Text(
        "the score has no root in the admissible region: no standard error is claimed",
        "得分函数在容许区域内无根，不给出标准误",
    )


@Kind
def moments_at_end(low: float, high: float) -> Text:
    """The moments of λ have no solution."""
    return Text(
        f"the moments are nearest to zero at an end of the admissible interval of λ ({low:.3f}, {high:.3f}): no standard "
        "error is claimed",
        f"矩条件在λ容许区间({low:.3f}, {high:.3f})的端点处最接近零，不给出标准误",
    )


@Kind
def rho_outside(rho: float, low: float, high: float, beside: str | None) -> Text:
    """An estimate by instruments where the model has no equilibrium."""
    other = Text(f"; {beside} has limits that hold", f"；{beside}的区间成立") if beside else Text("", "")
    return Text(
        f"ρ = {rho:.3f} lies outside the admissible interval ({low:.3f}, {high:.3f}), where the model has no equilibrium: "
        f"no standard error is claimed{other.en}",
        f"ρ={rho:.3f}落在容许区间({low:.3f}, {high:.3f})之外，模型无均衡，不给出标准误{other.zh}",
    )


@Kind
def textbook_moments() -> Text:
    """Recentred moments without a solution."""
    return Text(
        "the moments without the bias of many instruments have no solution near the textbook estimate, which is shown "
        "instead (bias_correction)",
        "扣除多工具变量偏误后的矩条件在教科书估计值附近无解，故仍报告后者（bias_correction）",
    )


@Kind
def zero_variance() -> Text:
    """φ on its bound of zero."""
    return Text(
        "the variance of the unit effects is estimated at zero: the other estimates are those of the pooled model",
        "个体效应方差的估计值为零：其余估计值即混合模型的估计值",
    )


# Identification -------------------------------------------------------------------------------------------


@Kind
def exchangeable() -> Text:
    """A likelihood that is the same with ρ and λ exchanged."""
    return Text(
        "ρ and λ cannot be told apart: without regressors whose spatial lags are new the likelihood is the same with the "
        "two exchanged; the one larger in absolute value is called ρ. Add regressors, or take a model with one spatial lag",
        "ρ与λ无法区分：没有能带来新空间滞后的解释变量时，两者互换似然不变；此处把绝对值较大者称为ρ。请加入解释变量，或用只含一种空间滞后的模型",
    )


@Kind
def many_peaks(peaks: tuple[tuple[float, ...], ...]) -> Text:
    """A likelihood with several maxima: ρ, λ, with random effects φ, and ln L of each."""
    shown = "; ".join(map(_peak, peaks))
    return Text(
        f"the likelihood has {len(peaks)} peaks of nearly the same height ({shown})",
        f"似然函数有{len(peaks)}个高度相近的峰（{shown}）",
    )


def _peak(values: tuple[float, ...]) -> str:
    rho, lam, *phi, height = values
    parts = [
        f"ρ = {rho:.3f}",
        f"λ = {lam:.3f}",
        *(f"φ = {value:.3g}" for value in phi),
        f"ln L = {height:.3f}",
    ]
    return ", ".join(parts)


@Kind
def gns_weak() -> Text:
    """The model with all three lags."""
    return Text(
        "GNS is weakly identified: prefer SDM, SDEM or SAC unless theory asks for all three lags",
        "GNS识别性弱：除非理论要求三种空间滞后并存，宜用SDM、SDEM或SAC",
    )


@Kind
def weak_instruments(strengths: tuple[tuple[str, float], ...], corrected: bool) -> Text:
    """First-stage F of endogenous regressors by instruments that are too weak."""
    shown = [f"{name} (F = {f:.1f})" for name, f in strengths]
    lean = (
        Text("poorly determined", "难以确定")
        if corrected
        else Text("pulled towards least squares", "偏向最小二乘")
    )
    return Text(
        f"instruments are weak for {listed(shown)}: its coefficient is {lean.en}, and intervals by standard errors are too "
        "short",
        f"{listed_zh(shown)}的工具变量较弱：其系数{lean.zh}，按标准误给出的区间偏窄",
    )


@Kind
def many_instruments(instruments: int, observations: int) -> Text:
    """So many instruments that estimates lean."""
    return Text(
        f"{instruments} instruments for {observations} observations are many and bias the estimate: use fewer powers "
        "or regressors",
        f"{observations}个观测值用了{instruments}个工具变量，过多，会使估计有偏：请减少W的幂次或解释变量",
    )


@Kind
def instruments_left_out(names: tuple[str, ...]) -> Text:
    """Collinear instruments."""
    return Text(
        f"collinear instruments were left out: {listed(names)}", f"共线的工具变量已剔除：{listed_zh(names)}"
    )


# Precision ------------------------------------------------------------------------------------------------


@Kind
def little_information(std_error: float, beside: str, covers: bool) -> Text:
    """A spatial coefficient by likelihood; ``covers``: of two spatial lags only the intervals of ``beside`` are good."""
    if beside == BOOTSTRAP:
        advice = Text(f"Use a sparser W, and read {beside} beside it", f"请用更稀疏的W，并同时看{beside}")
    elif covers:
        advice = Text(
            f"Use a sparser W or a model with one spatial lag, or read the intervals of {beside}, which hold",
            f"请用更稀疏的W或只含一种空间滞后的模型，或看{beside}的区间（覆盖率达标）",
        )
    else:
        advice = Text(
            f"Use a sparser W, or read {beside}, whose median is unbiased and whose intervals hold",
            f"请用更稀疏的W，或看{beside}（估计值不偏低，区间的覆盖率达标）",
        )
    return Text(
        f"the data say little about the spatial coefficient (standard error {std_error:.2f}). In simulations at this "
        "precision its estimates were too low by 0.02 or more, and intervals of indirect effects too short "
        f"(spatial-zb docs validation/study). {advice.en}",
        f"数据对空间系数提供的信息很少（标准误{std_error:.2f}）。模拟表明此精度下估计值偏低0.02以上，间接效应的区间偏窄"
        f"（spatial-zb docs validation/study）。{advice.zh}",
    )


@Kind
def imprecise_random(std_error: float, dense: bool, beside: str) -> Text:
    """A spatial coefficient with random effects."""
    how = (
        Text(
            "In simulations under a W that links nearly all units its estimates were too low by 0.03 to 0.13",
            "模拟表明W几乎连接所有地区时估计值偏低0.03至0.13",
        )
        if dense
        else Text(
            "In simulations at this precision its estimates were too low by 0.01 to 0.03",
            "模拟表明此精度下估计值偏低0.01至0.03",
        )
    )
    return Text(
        f"the spatial coefficient is imprecise (standard error {std_error:.2f}). {how.en}, and intervals of indirect "
        f"effects hold the truth in 87 to 93 % (spatial-zb docs validation/small_sample). Read {beside} beside it",
        f"空间系数不精确（标准误{std_error:.2f}）。{how.zh}，间接效应区间的覆盖率为87%至93%"
        f"（spatial-zb docs validation/small_sample）。请同时看{beside}",
    )


@Kind
def next_to_no_instruments(std_error: float, beside: str) -> Text:
    """A spatial coefficient by instruments that say nothing."""
    return Text(
        f"instruments say next to nothing about the spatial coefficient (standard error {std_error:.2f}). In simulations "
        "at this precision 10 to 60 % of the estimates were outside the admissible interval, and the others low by 0.1 to 2 "
        f"on average (spatial-zb docs validation/gmm). Read {beside}, or estimate by lee_yu where all "
        "regressors are exogenous",
        f"工具变量对空间系数几乎没有信息（标准误{std_error:.2f}）。模拟表明此精度下10%至60%的估计值落在容许区间之外，其余平均"
        f"偏低0.1至2（spatial-zb docs validation/gmm）。请看{beside}；若所有解释变量外生，宜用lee_yu估计",
    )


@Kind
def little_by_instruments(std_error: float, off: float, beside: str) -> Text:
    """A spatial coefficient by instruments that say little; ``off``, how far its median was off in simulations."""
    return Text(
        f"instruments say little about the spatial coefficient (standard error {std_error:.2f}). In simulations at this "
        f"precision its median is off by up to {off:.2f}, and intervals of indirect effects are too short "
        f"(spatial-zb docs validation/gmm). Read {beside} beside it, or use a sparser W",
        f"工具变量对空间系数的信息很少（标准误{std_error:.2f}）。模拟表明此精度下其中位数的偏误在{off:.2f}以内，间接效应的区间"
        f"偏窄（spatial-zb docs validation/gmm）。请同时看{beside}，或用更稀疏的W",
    )


@Kind
def direct_bias() -> Text:
    """Dummies for periods in the likelihood."""
    return Text(
        "direct ML with time effects is biased towards negative ρ; lee_yu is not",
        "含时间效应的直接极大似然使ρ偏向负值，lee_yu则不会",
    )


# Errors ---------------------------------------------------------------------------------------------------


@Kind
def correlated_over_time(t: float, p: float, coefficient: float, covariance: str) -> Text:
    """Errors of units that are correlated over time, under a covariance that takes them as independent."""
    return Text(
        f"errors of a unit are correlated over time (LM* t = {t:.1f}, p = {p:.2g}; first-order correlation about "
        f'{coefficient:.1f}), and covariance="{covariance}" takes them as independent: where regressors move slowly as well '
        'its standard errors are too small. Use covariance="cluster"',
        f"同一地区的误差跨期相关（LM* t={t:.1f}，p={p:.2g}；一阶相关约{coefficient:.1f}），而"
        f'covariance="{covariance}"假定其独立：解释变量也变动缓慢时标准误偏小。请用covariance="cluster"',
    )


@Kind
def variances_tied(F: float, q: int, left: int, p: float, shift: float, share: float, of: str = "ρ") -> Text:
    """Variances of units that go with their place in W: maximum likelihood, which takes them as equal, misses ρ or λ."""
    return Text(
        f"variances of the errors go with the place of units in W (F({q}, {left}) = {F:.1f}, p = {p:.2g}). Maximum "
        f"likelihood takes them as equal: without that {of} would move by about {shift:+.2f} ({share:.1f} standard "
        f"errors). Use {ROBUST_SCORE}, which allows any variances",
        f"误差方差随地区在W中的位置而变（F({q}, {left})={F:.1f}，p={p:.2g}）。极大似然假定方差相等：若不作此假定，{of}"
        f"约变动{shift:+.2f}（{share:.1f}个标准误）。请用{ROBUST_SCORE}，它允许任意方差",
    )


# Samples --------------------------------------------------------------------------------------------------


@Kind
def few_clusters(number: int, of: str, covariance: str) -> Text:
    """Errors that average over few clusters or few periods."""
    of_zh = COUNTED[of]
    return Text(
        f'with {number} {of} the standard errors of covariance="{covariance}" are too small: compare with the bootstrap',
        f'只有{number}个{of_zh}，covariance="{covariance}"的标准误偏小，请与自助法比较',
    )


@Kind
def wide_kernel(share: float, short: float, of: str, covariance: str) -> Text:
    """Sums over pairs of units or periods that are so many that scores, which sum to zero, partly cancel."""
    of_zh = COUNTED[of]
    return Text(
        f'the kernel of covariance="{covariance}" covers {share:.0%} of all pairs of {of}, which alone makes its standard '
        f"errors about {short:.0%} too small: use a smaller bandwidth",
        f'covariance="{covariance}"的核覆盖{of_zh}两两配对的{share:.0%}，仅此一项便使标准误偏小约{short:.0%}：'
        "请用较小的bandwidth",
    )


@Kind
def few_periods(units: int, periods: int, low: int, high: int, low_lasting: int, high_lasting: int) -> Text:
    """Driscoll-Kraay: the coverage that was measured at this size of panel or the next smaller one."""
    return Text(
        f'covariance="driscoll_kraay": in simulations with {periods} periods and {units} units its 95 % intervals of '
        f"coefficients held the truth in {low} to {high} %, and in {low_lasting} to {high_lasting} % where shocks last (AR "
        "0.7); where units share shocks ρ itself is off (spatial-zb docs validation/clusters)",
        f'covariance="driscoll_kraay"：{periods}期、{units}个地区的模拟中，其95%区间对系数的覆盖率为{low}%至{high}%，'
        f"冲击持续（AR 0.7）时为{low_lasting}%至{high_lasting}%；"
        "各地区受共同冲击时ρ本身有偏误（spatial-zb docs validation/clusters）",
    )


@Kind
def few_units(units: int, cells: int, beside: str, page: str) -> Text:
    """Standard errors that need many units."""
    return Text(
        f"only {units} units ({cells} observations): read standard errors as approximate, beside {beside} ({page})",
        f"仅{units}个地区（{cells}个观测值），标准误只是近似值，请与{beside}对照（{page}）",
    )


@Kind
def few_units_random(units: int, cells: int, beside: str) -> Text:
    """The same with random effects, where φ is off too."""
    page = "spatial-zb docs validation/random_effects"
    return Text(
        f"only {units} units ({cells} observations): read standard errors as approximate, beside {beside}; φ is too low by "
        f"a tenth of its value or more ({page})",
        f"仅{units}个地区（{cells}个观测值），标准误只是近似值，请与{beside}对照；φ偏低一成以上（{page}）",
    )


@Kind
def skewed_variance(units: int, beside: str) -> Text:
    """φ of a moderate number of units."""
    return Text(
        f"with {units} units φ is skewed: φ ± 1.96 standard errors held it in 90 % of simulated panels, and its median was "
        f"low by 0.05 (spatial-zb docs validation/random_effects); {beside} has limits that hold",
        f"{units}个地区时φ的分布偏斜：模拟中φ±1.96倍标准误的覆盖率为90%，中位数偏低0.05"
        f"（spatial-zb docs validation/random_effects）；{beside}的区间成立",
    )


@Kind
def few_units_by_regime(units: tuple[int, ...], beside: str) -> Text:
    """Units of each regime."""
    return Text(
        f"the regimes have only {listed(units)} units: read standard errors as approximate, beside {beside}",
        f"各区制仅有{listed_zh(units)}个地区，标准误只是近似值，请与{beside}对照",
    )


# Lags in time ---------------------------------------------------------------------------------------------


@Kind
def not_stable(persistence: float, radius: float) -> Text:
    """A unit root or spatial cointegration."""
    return Text(
        f"the process is not stable (τ + ρ + η = {persistence:.3f}, largest eigenvalue {radius:.3f}: a unit root or spatial "
        "cointegration), so that there is no long run and errors are approximate",
        f"过程不平稳（τ+ρ+η={persistence:.3f}，最大特征根{radius:.3f}：单位根或空间协整），因此没有长期效应，标准误只是近似值",
    )


@Kind
def root_taken_out() -> Text:
    """Stable off the means of periods."""
    return Text("the effects of periods take that root out of the estimates", "时间效应已从估计中消去该根")


@Kind
def persistent_and_short(periods: int, tau: float) -> Text:
    """η of a short persistent panel."""
    return Text(
        f"with {periods} periods and a persistence of τ = {tau:.2f}, η is off by 0.02 to 0.04 in simulations even after the "
        "correction",
        f"{periods}期、持续性τ={tau:.2f}时，模拟表明修正后η仍有0.02至0.04的偏差",
    )


@Kind
def not_corrected() -> Text:
    """No correction of the bias of a lag in time."""
    return Text(
        "the bias correction does not exist where the process is not stable: uncorrected estimates",
        "过程不平稳时无法作偏差修正，所列为未修正的估计值",
    )


# Data -----------------------------------------------------------------------------------------------------


@Kind
def nearly_collinear(condition: float, equation: str | None) -> Text:
    """Regressors that say nearly the same."""
    where = (
        Text("the", "") if equation is None else Text(f"Equation {equation!r}: the", f"方程{equation!r}：")
    )
    return Text(
        f"{where.en} regressors are nearly collinear (condition number {condition:.0f}): coefficients of single regressors "
        "are poorly determined, though their sum may be sound",
        f"{where.zh}解释变量近似共线（条件数{condition:.0f}）：单个变量的系数难以确定，其合计可能仍可靠",
    )


@Kind
def endogenous_weights(label: str, y: str) -> Text:
    """W made of y: who is near whom then moves with what is explained."""
    return Text(
        f"the weights {label!r} were built from {y!r}, the dependent variable: W is then endogenous and the estimates are "
        "not consistent. Build them from years before the sample, or from another variable",
        f"权重矩阵{label!r}由被解释变量{y!r}生成：W因此内生，估计不一致。请用样本期之前的年份或其他变量生成",
    )
