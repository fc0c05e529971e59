"""The torch room: models, tasks, the recorder, and the one loop in which weights change.

Order inside the room: ranks · sharding · memory · clock · guard · outcome · losses · tasks · tokens · models ·
packing · dropout · interpolate · predict · recorder · checkpoint · optimiser · loop · sanity · notes.
"""
