"""Suspects: the examples whose labels are doubted. Ranked, explained, counted; what reviewers decided of them.

Arrays and tables only: nothing here knows a model or a page.

Order inside the room: ranking · held_out · probabilities · confident · planted · combined · estimate · duplicates ·
explain · decisions · reviewers · apply · queue.
"""

from leadline.suspects.held_out import rank_by
from leadline.suspects.ranking import rank, rank_doubt

__all__ = ["rank", "rank_by", "rank_doubt"]
