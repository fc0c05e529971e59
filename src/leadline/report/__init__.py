"""The report of one run: everything it says, on one page that needs nothing beside it.

`write(run)` makes report.html, `model_card(run)` the text of model/README.md, `references(run)` the BibTeX of the
methods that the run used, `maps.write_map` the data map as a file. All read the run directory and change nothing else
in it; torch is not needed.

Order inside the room: words · bibliography · maps · facts · sure · disturbed · strangers · cases · made · page · card.
"""

from leadline.report.bibliography import references
from leadline.report.card import model_card
from leadline.report.page import write

__all__ = ["model_card", "references", "write"]
