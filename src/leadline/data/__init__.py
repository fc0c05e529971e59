"""Examples: read any source, check, identify, split, corrupt.

Order inside the room:
ids · blocks · closest · neighbours · vectors · parse · tables · hub · examples · findings · labels · check · split ·
corruption · noise · write · load.
"""
