"""What several runs say of the same data, side by side: agreement of scores, metrics with intervals, paired tests.

Order inside the room: shared · groups · tested · agreement · stability · votes · humans · scored · compared.
"""

from leadline.comparison.agreement import ScoreAgreement, no_direction
from leadline.comparison.compared import Comparison, compare
from leadline.comparison.groups import Group
from leadline.comparison.humans import Humans, WithPeople
from leadline.comparison.scored import Agreed
from leadline.comparison.stability import Stability
from leadline.comparison.tested import Test
from leadline.comparison.votes import Asked

__all__ = [
    "Agreed",
    "Asked",
    "Comparison",
    "Group",
    "Humans",
    "ScoreAgreement",
    "Stability",
    "Test",
    "WithPeople",
    "compare",
    "no_direction",
]
