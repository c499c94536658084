"""Pictures of volumes, masks and predictions, used by reports, predictions and tracking."""
