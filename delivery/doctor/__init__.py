"""The doctor: looks at an installation part by part, and says in plain words what to mend."""

from delivery.doctor.examination import examine
from delivery.doctor.findings import Finding, Grade

__all__ = ["Finding", "Grade", "examine"]
