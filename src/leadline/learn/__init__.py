"""The torch room: models, tasks, the recorder, and the one loop in which weights change.

Order inside the room: ranks · outcome · losses · tasks · models · interpolate · predict · recorder · loop · sanity
· notes.
"""
