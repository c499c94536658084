"""What a network costs before a tensor exists: operations, FLOPs and memory."""
