"""From the store to batches on the model's device."""
