"""What a site without internet needs: the manifest of artefacts, a bundle that holds them, and whether a mirror serves them."""
