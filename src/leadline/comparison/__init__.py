"""What several runs say of the same data, side by side: agreement of scores, metrics with intervals, paired tests.

Order inside the room: shared · groups · tested · compared.
"""

from leadline.comparison.compared import Agreed, Comparison, compare
from leadline.comparison.groups import Group
from leadline.comparison.tested import Test

__all__ = ["Agreed", "Comparison", "Group", "Test", "compare"]
