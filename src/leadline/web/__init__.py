"""The local web app over the directory of a run: review. Pages and requests only; what they show is computed above.

Order inside the room: shown · opened · card · near · numbers · guard · app · serve.
"""
