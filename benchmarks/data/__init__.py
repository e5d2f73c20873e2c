"""Batches of images: the loader and augmentation."""
