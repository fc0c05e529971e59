"""Suspects: the examples whose labels are doubted. Ranked, explained, counted; what reviewers decided of them.

Arrays and tables only: nothing here knows a model or a page.

Order inside the room: ranking · platt · probabilities · confident · planted · combined · estimate · duplicates ·
explain · decisions · reviewers · drawn · apply · queue.
"""

from leadline.suspects.confident import FILTERS, QUALITY, Issues, issues, joint, label_quality
from leadline.suspects.duplicates import Duplicates, conflicts, find_duplicates, leak_note, leaks, same_text
from leadline.suspects.estimate import Draw, Estimate, Stopping, draw, errors, where_reviewing_stops
from leadline.suspects.explain import Explanation, explain, explained
from leadline.suspects.planted import Calibration, aum_threshold, best_score, calibrate
from leadline.suspects.probabilities import own, prequential
from leadline.suspects.ranking import rank, rank_doubt, rank_probabilities, usual

__all__ = [
    "FILTERS",
    "QUALITY",
    "Calibration",
    "Draw",
    "Duplicates",
    "Estimate",
    "Explanation",
    "Issues",
    "Stopping",
    "aum_threshold",
    "best_score",
    "calibrate",
    "conflicts",
    "draw",
    "errors",
    "explain",
    "explained",
    "find_duplicates",
    "issues",
    "joint",
    "label_quality",
    "leak_note",
    "leaks",
    "own",
    "prequential",
    "rank",
    "rank_doubt",
    "rank_probabilities",
    "same_text",
    "usual",
    "where_reviewing_stops",
]
