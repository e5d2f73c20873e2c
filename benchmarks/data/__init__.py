"""Sampling, batching and augmentation of training images."""
