"""Suspects: the examples whose labels are doubted. Ranked, explained, counted; what reviewers decided of them.

Arrays and tables only: nothing here knows a model or a page.

Order inside the room: ranking.
"""

from leadline.suspects.ranking import rank

__all__ = ["rank"]
