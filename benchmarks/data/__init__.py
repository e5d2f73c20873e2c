"""From stored pixels to batches: drawing, loading, augmentation."""
