"""The system that Tawsiya replaces, written from its description: its serving and its training."""
