"""Advice for one's own images: cross-validation of a few cheap methods on the training images, and a recommendation."""
