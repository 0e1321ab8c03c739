"""Sites that are made up: the sun, the devices under it, what goes wrong with them, and what they put on the wire.

Everything follows from a seed, so that a run can be repeated byte for byte, and the true energy is known, so that what
a service credits can be held against what was generated. Nothing here is a measurement.
"""
