"""The rules by which ratings become MOS: the paper's, and those that others use.

The paper's is that of its section 3.3 and appendix B.2; docs/datasets.md compares them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...errors import DatasetError


@dataclass(frozen=True)
class Screening:
    """How outliers and rejected subjects are found.

    Attributes:
        of: screen the raw ratings, or the ratings after the rule's adjustment.
        deviation: standard deviation of a video's ratings: of a population (n) or sample (n - 1).
        limits: whether a rating exactly on the limit is inside (strict) or an outlier (inclusive).
        share_of: what a subject's outliers are counted against: the ratings that the subject gave,
            or all videos of the study, which never rejects a subject who rated only a few.
        balance: reject only where |above - below| / (above + below) is less than this: BT.500
            keeps subjects who err to one side. None rejects by the share alone.
        remove: whether outlier ratings of subjects who are kept are removed too.
    """

    of: Literal["raw", "adjusted"] = "raw"
    deviation: Literal["population", "sample"] = "population"
    limits: Literal["strict", "inclusive"] = "strict"
    share_of: Literal["rated", "all"] = "rated"
    balance: float | None = None
    remove: bool = True


@dataclass(frozen=True)
class Rule:
    """How ratings become MOS.

    Attributes:
        adjust: what is averaged. "zscore": the z-scores of each subject (sample deviation) as
            100 (z + 3) / 6, which has the range [0, 100] (paper, equations 1 and 2); "bias": the
            ratings minus the subject's bias (ITU-T P.913, 12.6); "none": the ratings themselves.
        screening: None keeps every rating.
    """

    adjust: Literal["none", "zscore", "bias"]
    screening: Screening | None

    def mos_range(self, scale: tuple[float, float]) -> tuple[float, float]:
        """Lowest and highest MOS, for ratings on a scale."""
        return (0.0, 100.0) if self.adjust == "zscore" else scale


_BT500 = Screening(deviation="sample", limits="inclusive", balance=0.3, remove=False)
_SUREAL = Screening(limits="inclusive", share_of="all", balance=0.3, remove=False)
_SUREAL_ADJUSTED = Screening("adjusted", "population", "inclusive", "all", 0.3, remove=False)

RULES: Mapping[str, Rule] = {
    "paper": Rule("zscore", Screening()),
    "plain": Rule("none", None),
    "bt500": Rule("none", _BT500),
    "p913": Rule("bias", None),
    "zscore": Rule("zscore", None),
    "sureal": Rule("none", _SUREAL),
    "sureal-zscore": Rule("zscore", _SUREAL_ADJUSTED),
    "sureal-bias": Rule("bias", _SUREAL_ADJUSTED),
}
"""The rules by name; `sureal*` are what Netflix's SUREAL calls SR_MOS, ZS_SR_MOS and BR_SR_MOS."""


def rule_named(name: str) -> Rule:
    """The rule of that name.

    Raises:
        DatasetError: there is none.
    """
    if name not in RULES:
        raise DatasetError(f"no rule {name!r}; the rules are {', '.join(RULES)}")
    return RULES[name]
