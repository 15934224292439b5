"""The doctor: looks at an installation part by part, and says in plain words what to mend."""
