"""Examples: read any source, check, identify, split, corrupt.

Order inside the room:
ids · parse · tables · hub · examples · findings · labels · check · split · corruption · write · load.
"""
