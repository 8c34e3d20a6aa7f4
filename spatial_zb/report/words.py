"""The fixed words of tables, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spatial_zb.base.text import Text

EFFECTS = {
    "direct": Text("Direct", "直接效应"),
    "indirect": Text("Indirect", "间接效应"),
    "total": Text("Total", "总效应"),
}

#: Parts of a response to a shock in one unit.
RESPONSE_PARTS = {
    "own": Text("Own city", "本地区"),
    "others": Text("All others together", "其他地区合计"),
    "total": Text("Total", "合计"),
}

# Parameters beside the regressors, in the order they are printed.
PARAMETERS = {
    "tau": Text("Time lag τ", "时间滞后系数 τ"),
    "rho": Text("Spatial lag ρ", "空间自回归系数 ρ"),
    "eta": Text("Space-time lag η", "时空滞后系数 η"),
    "lam": Text("Spatial error λ", "空间误差系数 λ"),
    "phi": Text("Random effect φ", "随机效应参数 φ"),
    "sigma2": Text("Variance σ²", "误差方差 σ²"),
}

# Lines below the estimates: name in glance() and label.
FACTS = {
    "nobs": Text("Observations", "观测值"),
    "rows": Text("Rows", "行数"),
    "present": Text("Share of the panel present", "面板中存在的比例"),
    "n_units": Text("Units", "地区数"),
    "n_periods": Text("Periods", "时期数"),
    "log_likelihood": Text("Log-likelihood", "对数似然值"),
    "aic": Text("AIC", "AIC"),
    "r2_within": Text("R² within", "组内 R²"),
    "serial_p": Text("Serial correlation, p of LM*", "序列相关，LM* 的 p 值"),
    "effective_f": Text("Effective F", "有效 F"),
    "kp_f": Text("Kleibergen–Paap F", "Kleibergen–Paap F"),
    "j": Text("Over-identification J", "过度识别 J"),
    "j_p": Text("p of J", "J 的 p 值"),
}
#: Of these, what only a maximum of the likelihood has.
OF_A_LIKELIHOOD = ("log_likelihood", "aic")
# And what only fits of uneven panels, by instruments or of systems have.
RARE_FACTS = ("rows", "present", "serial_p", "effective_f", "kp_f", "j", "j_p")

ESTIMATORS = {
    "lee_yu": Text("Lee–Yu ML", "Lee–Yu 极大似然"),
    "yang": Text("Bias-corrected score", "偏差修正得分"),
    "uncorrected": Text("ML, uncorrected", "未修正极大似然"),
    "direct": Text("Direct ML", "直接极大似然"),
    "ml": Text("ML", "极大似然"),
    "qml": Text("QML", "拟极大似然"),
    "ols": Text("OLS", "最小二乘"),
    "within": Text("Within", "组内估计"),
    "gmm": Text("GMM", "广义矩"),
    "robust_score": Text("Robust score", "稳健得分"),
    "adjusted_score": Text("Adjusted score", "调整得分"),
    "2sls": Text("2SLS", "两阶段最小二乘"),
    "3sls": Text("3SLS", "三阶段最小二乘"),
    "gs2sls": Text("GS2SLS", "广义空间两阶段最小二乘"),
    "gs3sls": Text("GS3SLS", "广义空间三阶段最小二乘"),
    "fiml": Text("FIML", "完全信息极大似然"),
}

# Families with something added; the others go by their letters in both languages.
FAMILIES = ("OLS", "SLX", "SAR", "SDM", "SEM", "SDEM", "SAC", "GNS")
MODELS = {f"dynamic {name}": Text(f"Dynamic {name}", f"动态 {name}") for name in FAMILIES} | {
    f"regime {name}": Text(f"{name} by regime", f"分区制 {name}") for name in FAMILIES
}

#: Of a weights matrix, beside those of another program.
PROPERTIES = {
    "units": Text("Units", "地区数"),
    "links": Text("Links", "联系数"),
    "neighbours_min": Text("Fewest neighbours", "最少邻居数"),
    "neighbours_mean": Text("Neighbours on average", "平均邻居数"),
    "neighbours_max": Text("Most neighbours", "最多邻居数"),
    "islands": Text("Units without neighbours", "无邻居的地区"),
    "components": Text("Components", "连通分支数"),
    "one_way_links": Text("Links without a link back", "单向联系数"),
    "density": Text("Density", "密度"),
    "s0": Text("S₀, sum of weights", "S₀，权重之和"),
    "s1": Text("S₁", "S₁"),
    "s2": Text("S₂", "S₂"),
    "traces": Text("tr(W′W + WW)", "tr(W′W + WW)"),
}

COVARIANCES = {
    "information": Text("information", "信息矩阵"),
    "hessian": Text("Hessian", "海塞矩阵"),
    "sandwich": Text("sandwich", "三明治估计"),
    "cluster": Text("clustered by unit", "按地区聚类"),
    "cr1": Text("clustered by unit (CR1)", "按地区聚类（CR1）"),
    "cr2": Text("clustered by unit (CR2)", "按地区聚类（CR2）"),
    "driscoll_kraay": Text("Driscoll–Kraay", "Driscoll–Kraay"),
    "spatial_hac": Text("spatial HAC", "空间 HAC"),
    "conley": Text("Conley, by kilometres", "Conley（按公里）"),
    "delta": Text("delta method", "Delta 方法"),
    "simulate": Text("simulated draws", "模拟抽样"),
    "fieller": Text("Fieller limits", "Fieller界限"),
    "classical": Text("classical", "经典"),
    "robust": Text("robust", "异方差稳健"),
}

NORMALISATIONS = {
    "none": Text("not normalised", "未标准化"),
    "row": Text("row-normalised", "行标准化"),
    "spectral": Text("spectrally normalised", "谱标准化"),
    "minmax": Text("min–max normalised", "极小极大标准化"),
    "by period": Text("by period", "分时期"),
}

# What was done about a blank cell.
ABSENCES = {
    "enters late": Text("enters late", "中途进入"),
    "leaves": Text("leaves", "中途退出"),
    "gap": Text("gap", "中间缺失"),
    "never there": Text("not in these periods", "各期均无"),
}

RULES = {
    "blank": Text("left blank", "保留空缺"),
    "interpolate": Text("linear interpolation", "线性插值"),
    "median_growth": Text("median growth of the others", "其他地区增长率中位数"),
    "drop_units": Text("unit left out", "剔除该地区"),
    "drop_periods": Text("period left out", "剔除该时期"),
}

WORDS = {
    "test": Text("Test", "检验"),
    "statistic": Text("Statistic", "统计量"),
    "df": Text("df", "自由度"),
    "equation": Text("Equation", "方程"),
    "identified": Text("Identified", "可识别"),
    "rank": Text("Rank", "秩"),
    "order": Text("Order", "阶"),
    "sw_f": Text("First-stage F", "第一阶段 F"),
    "kp_f": Text("Kleibergen–Paap F", "Kleibergen–Paap F"),
    "effective_f": Text("Effective F", "有效 F"),
    "j": Text("J", "J"),
    "j_p": Text("p of J", "J 的 p 值"),
    "absence": Text("Absence", "缺席情形"),
    "absent_periods": Text("Absent in", "缺席时期"),
    "why": Text("What is known", "已知原因"),
    "anonymous": Text("not stated", "未说明"),
    "between": Text("SD between", "组间标准差"),
    "constant": Text("Constant", "常数项"),
    "controls": Text("Controls", "控制变量"),
    "covariance": Text("Covariance", "协方差估计"),
    "dependent": Text("Dependent variable", "被解释变量"),
    "definition": Text("Definition", "定义"),
    "estimate": Text("Estimate", "估计值"),
    "estimator": Text("Estimator", "估计方法"),
    "max": Text("Max.", "最大值"),
    "mean": Text("Mean", "均值"),
    "median": Text("Median", "中位数"),
    "min": Text("Min.", "最小值"),
    "model": Text("Model", "模型"),
    "n": Text("N", "观测数"),
    "no": Text("No", "否"),
    "not_computed": Text("n.c.", "未计算"),
    "overall": Text("SD overall", "总体标准差"),
    "period": Text("Period", "时期"),
    "pooled": Text("All periods", "各时期合并"),
    "random": Text("Random", "随机"),
    "rule": Text("Rule", "补齐规则"),
    "source": Text("Source", "来源"),
    "other_effects": Text("Further effects", "其他固定效应"),
    "time_effects": Text("Time fixed effects", "时间固定效应"),
    "unit": Text("Unit", "地区"),
    "unit_effects": Text("Unit fixed effects", "地区固定效应"),
    "unit_of_measure": Text("Unit of measurement", "单位"),
    "printed": Text("As printed", "刊印值"),
    "value": Text("Value", "数值"),
    "variable": Text("Variable", "变量"),
    "weights": Text("Weights matrix", "空间权重矩阵"),
    "within": Text("SD within", "组内标准差"),
    "sd": Text("SD", "标准差"),
    "yes": Text("Yes", "是"),
}

#: Words for the columns of choices and for their usual values.
CHOICE_WORDS: dict[str, Text] = {
    "spec": Text("Specification", "模型设定"),
    "model": WORDS["model"],
    "weights": Text("Weights", "空间权重"),
    "sample": Text("Sample", "样本"),
    "estimator": WORDS["estimator"],
    "covariance": Text("Standard errors", "标准误"),
    "fixed_effects": Text("Fixed effects", "固定效应"),
    "controls": Text("Controls", "控制变量"),
    "periods": Text("Periods", "时期"),
    "outliers": Text("Outliers", "异常值处理"),
    "y": WORDS["dependent"],
    "measure": Text("Measure", "测度指标"),
}
VALUE_WORDS: dict[str, dict[str, Text]] = {
    "estimator": ESTIMATORS,
    "covariance": COVARIANCES,
    "fixed_effects": {
        "none": Text("None", "无"),
        "unit": Text("Unit", "地区"),
        "time": Text("Time", "时间"),
        "two_way": Text("Two-way", "双向"),
        "random": WORDS["random"],
    },
}
YES_NO = {"True": WORDS["yes"], "False": WORDS["no"]}


def has_effects(facts: Mapping, kind: str) -> Text:
    """Whether a fit has effects of units (``"unit"``) or of periods (``"time"``), alone or in a product."""
    value = str(facts.get("fixed_effects", "none"))
    if value == "random" and kind == "unit":
        return WORDS["random"]
    names = [
        part for name in value.split(" + ") for part in ([name] if name == "unit*trend" else name.split("*"))
    ]
    return WORDS["yes" if value in (kind, "two_way") or {"time": "period"}.get(kind, kind) in names else "no"]


#: Words of effects that a list names one by one.
ONE_EFFECT = {"unit": Text("unit", "个体"), "period": Text("period", "时间"), "trend": Text("trend", "趋势")}


def effect_name(name: str, labels: Mapping[str, Any]) -> Text:
    """One of several effects, such as ``"prov*period"``, in the words of its columns."""
    parts = [ONE_EFFECT.get(part) or Text.of(labels.get(part, part)) for part in name.split("*")]
    return Text(
        " × ".join(part.en[:1].lower() + part.en[1:] for part in parts), "×".join(p.zh for p in parts)
    )


def other_effects(facts: Mapping, labels: Mapping[str, Any]) -> Text:
    """Effects beside those of units and of periods, such as province × period; "no" without any."""
    known = ("unit", "period", *VALUE_WORDS["fixed_effects"])
    found = str(facts.get("fixed_effects", "none")).split(" + ")
    names = [effect_name(name, labels) for name in found if name not in known]
    said = Text(", ".join(name.en for name in names), "、".join(name.zh for name in names))
    return said if names else WORDS["no"]
