"""What earthgen writes: scenes as GeoTIFF, PNG or JPEG, STAC items, manifests of batches, contact sheets.

Every file carries its provenance and the mark that it is synthetic, and appears whole or not at all.
"""
