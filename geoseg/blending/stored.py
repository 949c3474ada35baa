"""What is kept of blended scores, a byte a pixel and plane: the class, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

FULL = 250
"""The byte for 1.0: confidence, entropy, mutual information and probabilities are stored in steps of 0.004."""

NOTHING = 255
"""The class index of a pixel that no tile covered."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Which planes follow the class index.

    Attributes:
        confidence: The highest probability.
        entropy: Predictive entropy, as a share of that of a uniform guess.
        mutual_information: What the samples of Monte Carlo dropout disagree by: entropy of their mean less the mean of
            their entropies (Houlsby et al. 2011, https://arxiv.org/abs/1112.5745), on the same scale. The scores then
            have a plane more, the mean entropy in nats.
        probabilities: A plane a class.
    """

    confidence: bool = False
    entropy: bool = False
    mutual_information: bool = False
    probabilities: bool = False

    def planes(self, classes: int) -> tuple[str, ...]:
        """Names of the planes in order."""
        more = {
            "confidence": self.confidence,
            "entropy": self.entropy,
            "mutual information": self.mutual_information,
        }
        named = [name for name, wanted in more.items() if wanted]
        return ("class", *named, *(f"probability {k}" for k in range(classes * self.probabilities)))
