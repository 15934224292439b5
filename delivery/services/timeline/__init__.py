"""Why a delivery is where it is, and why an event went where it went: told from what the ledger keeps."""
