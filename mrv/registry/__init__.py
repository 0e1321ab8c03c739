"""What is handed over to registries: the tables of Article 6.2, and units and issuances for CAD Trust.

Pure: whoever has the same decisions writes the same bytes. Nothing is decided here: which tonnes were notified to whom,
what was authorized and which units were issued is declared by those who decided it, and checked to sum.
"""
