"""What templates show, computed from records."""
