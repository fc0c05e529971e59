"""Other tools' files.

Order inside the room: cartography · subsets.
"""
