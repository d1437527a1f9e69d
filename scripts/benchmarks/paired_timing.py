"""Two things timed in turn: what counts is the ratio within a pair, since machines are noisy."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class PairedTimings:
    """Figures of ours and of a peer's, pair by pair: seconds, or megabytes."""

    ours: list[float] = field(default_factory=list)
    peers: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours against the peer's, pair by pair."""
        return [ours / peer for ours, peer in zip(self.ours, self.peers, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the ratios; where there are too few, the smallest and the largest."""
        if len(self.ours) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high


def time_in_turn(
    ours: Callable[[], float], peer: Callable[[], float], repeats: int, warm_up: int = 1
) -> PairedTimings:
    """Let both run in turn; each returns its figure. Warm-up pairs are not counted."""
    pairs = PairedTimings()
    for _ in range(warm_up + repeats):
        pairs.peers.append(peer())
        pairs.ours.append(ours())
    return PairedTimings(pairs.ours[warm_up:], pairs.peers[warm_up:])
