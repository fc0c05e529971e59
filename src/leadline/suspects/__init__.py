"""Suspects: the examples whose labels are doubted. Ranked, explained, counted; what reviewers decided of them.

Arrays and tables only: nothing here knows a model or a page.

Order inside the room: ranking · held_out · probabilities · confident · planted · combined · estimate · duplicates ·
explain · decisions · reviewers · apply · queue.
"""

from leadline.suspects.confident import FILTERS, QUALITY, Issues, issues, joint
from leadline.suspects.duplicates import Duplicates, conflicts, find_duplicates, leak_note, leaks, same_text
from leadline.suspects.estimate import Draw, Estimate, Stopping, draw, errors, where_reviewing_stops
from leadline.suspects.explain import Explanation, explain, explained
from leadline.suspects.held_out import rank_by
from leadline.suspects.planted import Calibration, aum_threshold, best_score, calibrate, flag
from leadline.suspects.probabilities import INFORMED, Probabilities, from_folds, informed, own, prequential
from leadline.suspects.ranking import rank, rank_doubt

__all__ = [
    "FILTERS",
    "INFORMED",
    "QUALITY",
    "Calibration",
    "Draw",
    "Duplicates",
    "Estimate",
    "Explanation",
    "Issues",
    "Probabilities",
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
    "flag",
    "from_folds",
    "informed",
    "issues",
    "joint",
    "leak_note",
    "leaks",
    "own",
    "prequential",
    "rank",
    "rank_by",
    "rank_doubt",
    "same_text",
    "where_reviewing_stops",
]
