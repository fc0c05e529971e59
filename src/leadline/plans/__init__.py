"""Plans: what one epoch trains on.

Order inside the room: epoch · weights · subset · curriculum · mix.
"""
