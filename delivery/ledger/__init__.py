"""The ledger: what was accepted, what is owed, what was tried. The only SQL of the engine lives here."""

from delivery.ledger.session import Ledger, Transaction

__all__ = ["Ledger", "Transaction"]
