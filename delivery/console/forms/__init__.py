"""Forms: read, validated, shown again."""
