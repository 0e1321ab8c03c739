"""Quality rules over the readings of a period: what a verifier is told, and what is not credited for it.

Pure masks and verdicts over series, in the three kinds of checks of the EBRD's D-MRV protocol. No rule alters a
reading, and none raises the credit. `rules` names them, the other modules decide them, `judge` runs them on a register.
"""
