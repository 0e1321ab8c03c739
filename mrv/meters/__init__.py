"""Meters as verifiers see them: calibration over the whole period, replacement, the monitoring plan, invoices.

Nothing here alters a reading, and nothing raises the credit: what raises EG is lowered by the error that the meter may
have had, what lowers EG is raised by it, each register by itself and never their difference.
"""
