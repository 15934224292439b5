"""The catalogue of event types: what events are called, what they hold, and how they change over time."""

from delivery.catalogue.catalogue import FORMATS, Catalogue
from delivery.catalogue.terms import VALIDATIONS, Declaration, Deprecation, Told, TypeChanges, checked_name

__all__ = [
    "FORMATS",
    "VALIDATIONS",
    "Catalogue",
    "Declaration",
    "Deprecation",
    "Told",
    "TypeChanges",
    "checked_name",
]
