"""From rows to tonnes.

Register algebra, site calendar, energy, methodologies, periods and their revisions, reports, the schedule. Results are
exact and can be computed again to the same byte. Nothing here receives a message.
"""
