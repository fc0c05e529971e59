"""Probes: scores that need the model again, not only the record.

Each reads a model and the examples that it is asked about, dropout off, in float32, and returns numbers per example in
their order; memory is bounded by a batch or a block, not by the number of examples.

Order inside the room: subject · first_token · grand · grand_full · vog · depth.
"""
