"""What a site, a device and a reading are.

Points and units, topics, payloads of each device family, declaration files, recordings of real plants, and what stands
in for a site's gateway. Pure but for reading files and the publisher; knows no database and no report.
"""
