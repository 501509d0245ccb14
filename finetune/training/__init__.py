"""Training of adapters and full models: settings, memory, encoding, the five objectives, guards, ledger, report."""
