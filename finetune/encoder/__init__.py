"""Training of the service's small encoder: one model that finds passages, reads messages, answers and claims."""
