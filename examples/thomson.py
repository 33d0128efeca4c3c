"""Charges on a sphere: the lowest energy for a few n, with the certificate, and the minima beside it for n = 16.

python examples/thomson.py
"""

import jaxnewton as jn

for n in (4, 6, 12, 16):
    found = jn.thomson.solve(n, starts=64)
    verdict = "certified" if found.certified else "NOT certified"
    difference = found.energy - jn.thomson.BEST_KNOWN[n]
    print(f"n = {n:2d}: energy {found.energy:.9f} ({difference:+.0e} to the best known), {verdict}")
    print(f"        minima and hits: {found.minima}")
