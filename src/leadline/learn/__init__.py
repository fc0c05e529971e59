"""The torch room: models, tasks, the recorder, and the one loop in which weights change.

Order inside the room: ranks · sharding · kept_weights · memory · clock · guard · outcome · losses · tasks · tokens ·
mixup_head · models · packing · dropout · interpolate · between · span · mixers · mixing · predict · perturb ·
features · represent · other_detectors · probes · recorder · checkpoint · optimiser · loop · density · sanity · notes.
"""
