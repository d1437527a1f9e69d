"""Paired measurements, taken alternately. The ratio within a pair is robust against a noisy machine."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class PairedTimings:
    """Measurements of dive and of a baseline, pair by pair, in seconds or megabytes."""

    dive: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """The ratio of dive to the baseline in each pair."""
        return [dive / baseline for dive, baseline in zip(self.dive, self.baseline, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the ratios; with fewer than four pairs, the minimum and the maximum."""
        if len(self.dive) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high


def time_in_turn(
    dive: Callable[[], float], baseline: Callable[[], float], repeats: int, warm_up: int = 1
) -> PairedTimings:
    """Call both alternately; each returns its measurement. Warm-up pairs are dropped."""
    pairs = PairedTimings()
    for _ in range(warm_up + repeats):
        pairs.baseline.append(baseline())
        pairs.dive.append(dive())
    return PairedTimings(pairs.dive[warm_up:], pairs.baseline[warm_up:])
