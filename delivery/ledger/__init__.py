"""The ledger: what was accepted, what is owed, what was tried. The only SQL of the engine lives here."""
