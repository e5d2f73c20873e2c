"""Helpers independent of training: files, options, text formatting."""
