"""What methodologies compute, each formula pure: from quantities in MWh or Wh to tonnes, in decimal arithmetic."""
