"""The read model of a frozen revision: from its tonnes down to the raw payload and its inclusion proof.

Each function takes a connection that may see a part of the projects only, reads the tables by their bare names, and
writes nothing. What it shows is what the computation did: energies come from what was kept when the revision was
frozen, and a day that is shown reading by reading is computed again and held against it.
"""
