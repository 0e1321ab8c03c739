"""From a foreign payload to readings: profiles of device families, payload shapes, times, joining.

`profile` says what a profile file may say, `shapes` cuts payloads into elements, `times` reads their times, `elements`
makes readings of them, `frames` joins what comes one field a topic, `routes` finds the devices that a topic belongs to.
"""
