"""Charges on a sphere: the lowest energy for a few n, with the certificate, and the minima beside it for n = 16.

python examples/thomson.py
"""

import jaxnewton as jn

for n in (4, 6, 12, 16):
    found = jn.thomson.solve(n, starts=64)
    verdict = "certified" if found.certified else "NOT certified"
    difference = found.energy - jn.thomson.BEST_KNOWN[n]
    print(f"n = {n:2d}: energy {found.energy:.9f} ({difference:+.0e} to the best known), {verdict}")
    for one in found.minima:
        group = f"point group of order {one.symmetry}, dipole {one.dipole:.0e}"
        print(f"        {one.energy:.9f}: {one.hits} of 64 starts, {group}, smallest eigenvalue {one.curvature:.4f}")
